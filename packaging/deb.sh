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
# All pages, since they link to each other; the contract lies among them, and links to it are made to fit.
documents="$root/usr/share/doc/martlet"
mkdir -p "$documents"
cp -R "$here/../docs/." "$documents"
cp -R "$here/../proto" "$documents/proto"
find "$documents/proto" -type f ! -name '*.proto' -delete
find "$documents" -type f -name '*.md' -exec sed -i 's|](\.\./proto/|](proto/|g' {} +
find "$documents" -type d -exec chmod 0755 {} + -o -type f -exec chmod 0644 {} +
install -D -m 0644 "$here/../LICENSE" "$documents/copyright"

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
