#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes a Debian package: packaging/deb.sh BINARY DIRECTORY [VERSION]. Prints its path.
# Nothing but dpkg-deb is needed. What the binary is linked to becomes its dependencies.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
binary=$1 out=$2
version=${3:-$("$binary" version | awk '{ print $2 }')}
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"

install -D -m 0755 "$binary" "$root/usr/bin/martlet"
install -D -m 0644 "$here/systemd/martlet.service" "$root/lib/systemd/system/martlet.service"
install -D -m 0644 "$here/martlet.yaml" "$root/etc/martlet/martlet.yaml"
for page in operations configuration security reliability audit quotas threat-model grpc work-queues kafka-support; do
  install -D -m 0644 "$here/../docs/$page.md" "$root/usr/share/doc/martlet/$page.md"
done
install -D -m 0644 "$here/../LICENSE" "$root/usr/share/doc/martlet/copyright"
for file in "$here"/../docs/monitoring/*; do
  [[ ! -f $file ]] || install -D -m 0644 "$file" "$root/usr/share/doc/martlet/monitoring/$(basename "$file")"
done

# Each shared library's package; the C library as new as the one that was linked against.
depends="libc6 (>= $(dpkg-query -W -f='${Version}' libc6 | sed 's/-.*//')), passwd"
while read -r library; do
  package=$(dpkg -S "$(readlink -f "$library")" "$library" 2>/dev/null | head -n 1 | sed 's/[:,].*//' || true)
  [[ -z $package || $package == libc6 || $depends == *", $package"* ]] || depends+=", $package"
done < <(ldd "$binary" | awk '$3 ~ /^\// { print $3 }')

mkdir -p "$root/DEBIAN" "$out"
cat > "$root/DEBIAN/control" <<END
Package: martlet
Version: $version
Architecture: $architecture
Maintainer: The Martlet authors <martlet@localhost>
Installed-Size: $(du -sk "$root" | cut -f 1)
Depends: $depends
Section: net
Priority: optional
Description: Kafka-compatible broker with a gRPC front
 Keeps topics as append-only logs in Kafka's own file format and serves them
 on one port to Kafka clients, to gRPC subscribers and to Prometheus. What is
 acknowledged with acks=all is on disk.
END
echo /etc/martlet/martlet.yaml > "$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 0755 "$here/debian/$script" "$root/DEBIAN/$script"; done
package="$out/martlet_${version}_$architecture.deb"
dpkg-deb --root-owner-group -Z"${MARTLET_DEB_COMPRESSION:-xz}" --build "$root" "$package" >/dev/null
echo "$package"
