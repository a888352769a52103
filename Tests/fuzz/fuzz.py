#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the fuzz targets, and looks after their kept inputs.

    fuzz.py run BINARY SECONDS [TARGET]   every target in turn, or one; exit 1 on a finding
    fuzz.py pack DIRECTORY TARGET         keeps a selection of a directory's inputs as corpus/TARGET.bin
    fuzz.py unpack TARGET DIRECTORY       the kept inputs as files

What a run finds lies in .build-fuzz/findings, what it grows in .build-fuzz/corpus.
"""
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent.parent / ".build-fuzz"
# One input may not cost more than this.
LIMITS = ["-timeout=20", "-rss_limit_mb=2048", "-malloc_limit_mb=256"]
# Leaks are looked for by the unit tests' sanitizer run (`make sanitize LEAKS=1`), which names their tests.
ENVIRONMENT = os.environ | {
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1", "SWIFT_BACKTRACE": "enable=no"}
# A corpus file holds no more than this, so that the repository stays small and the replay quick.
PACKED_BYTES_MAX = 40_000
PACKED_INPUTS_MAX = 150


def read_packed(target):
    data = (HERE / "corpus" / f"{target}.bin").read_bytes()
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        position += 4
        yield data[position:position + length]
        position += length


def unpack(target, directory):
    directory.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(read_packed(target)):
        (directory / f"kept-{number:04}").write_bytes(data)


def pack(directory, target):
    """Of what a run has kept, because each reached something new, as much as fits, from the smallest on."""
    inputs = sorted({path.read_bytes() for path in directory.iterdir()}, key=lambda data: (len(data), data))
    # Too many: every so-manyth, so that long ones stay represented.
    kept, size = [], 0
    step = max(1, len(inputs) / PACKED_INPUTS_MAX)
    for number in range(int(len(inputs) / step)):
        data = inputs[int(number * step)]
        if size + len(data) + 4 <= PACKED_BYTES_MAX:
            kept.append(data)
            size += len(data) + 4
    packed = b"".join(struct.pack(">I", len(data)) + data for data in kept)
    (HERE / "corpus" / f"{target}.bin").write_bytes(packed)
    print(f"{target}: {len(kept)} of {len(inputs)} inputs, {len(packed)} bytes")


def run_one(binary, target, seconds):
    corpus, findings = BUILD / "corpus" / target, BUILD / "findings"
    unpack(target, corpus)
    findings.mkdir(exist_ok=True)
    for kept in (HERE / "regressions" / target).glob("*"):
        shutil.copy(kept, corpus / f"regression-{kept.name}")
    prefix = findings / f"{target}-"
    log = BUILD / f"{target}.log"
    with log.open("w") as output:
        # libFuzzer ends by itself; the timeout is for a process that a signal left hanging.
        try:
            code = subprocess.run(
                [binary, target, f"-max_total_time={seconds}", f"-artifact_prefix={prefix}", "-print_final_stats=1",
                 *LIMITS, str(corpus)],
                env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                timeout=seconds + 120).returncode
        except subprocess.TimeoutExpired:
            code = -1
    text = log.read_text(errors="replace")
    stats = dict(line[6:].split(":", 1) for line in text.splitlines() if line.startswith("stat::"))
    coverage = [line.split("cov: ")[1].split()[0] for line in text.splitlines() if "cov: " in line]
    runs = stats.get("number_of_executed_units", "?").strip()
    print(f"  {target:18} {runs:>9} runs, {coverage[-1] if coverage else '?':>6} edges, "
          f"{len(list(corpus.iterdir())):5} inputs", flush=True)
    if code == 0:
        return True
    cause = next(
        (line for line in text.splitlines() if "Fatal error" in line or line.startswith("SUMMARY")), "see the log")
    print(f"  {target}: FOUND: {cause.strip()[:300]}\n    log    {log}")
    for path in sorted(findings.glob(f"{target}-*"), key=os.path.getmtime)[-1:]:
        print(f"    input  {path}\n    replay {binary} {target} {path}\n"
              f"    keep   cp {path} Tests/fuzz/regressions/{target}/NAME-OF-THE-DEFECT")
    return False


def run(binary, seconds, only):
    names = subprocess.run(
        [binary, "list"], env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout.split()
    if only and only not in names:
        sys.exit(f"error: no target {only}; there are {' '.join(names)}")
    targets = [only] if only else names
    each = max(1, seconds // len(targets))
    print(f"{len(targets)} targets, {each} s each")
    begin = time.monotonic()
    failed = [target for target in targets if not run_one(binary, target, each)]
    print(f"{time.monotonic() - begin:.0f} s, {len(failed)} targets with findings {' '.join(failed)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", binary, seconds, *only]:
            run(binary, int(seconds), next((name for name in only if name), None))
        case ["pack", directory, target]:
            pack(pathlib.Path(directory), target)
        case ["unpack", target, directory]:
            unpack(target, pathlib.Path(directory))
        case _:
            sys.exit(__doc__)
