#!/usr/bin/env bash
# Runs the instruction-set level amx on an emulated CPU that has the tiles: Bochs as a Sapphire Rapids, with a Linux
# kernel that must be asked for them.
#   - the kernels' conformance tests, and the golden tests of whole models and of the vision tower, at that level
#   - the demo model's answer, which must be the one that the scalar level gives on this machine
#   - the same kernel without AMX: the level is refused, and the program runs at the one below
#
# Takes ten minutes or more, half of it compiling, and five minutes more the first time: Debian packages (60 MB) and the
# sources of Bochs are fetched and built in target/amx. Nothing is installed. Emulation shows what is right, and nothing of
# speed.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "test-amx: $*" >&2; exit 1; }
for tool in apt-get dpkg g++ make patch; do
  command -v $tool >/dev/null || fail "needs $tool (a Debian-like machine with g++, make and patch)"
done
here=$PWD
work=$here/target/amx
mkdir -p "$work"

# --- Bochs, its BIOS, a kernel and a shell: from Debian 13, whatever release this machine runs ---
debian() { # debian apt-get|apt-cache ARGUMENT...: with lists of its own; the mirror and the keys are the machine's
  local command=$1; shift
  "$command" -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::State::status=/dev/null -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" \
    -o APT::Architecture=amd64 -o APT::Sandbox::User="$(id -un)" "$@"
}

fetch() {
  local mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg image
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 -E '/debian/?$') ||
    fail "no Debian mirror in this machine's apt configuration (or no lists yet: apt-get update)"
  test -e $keys || fail "no $keys (package debian-archive-keyring)"
  mkdir -p apt/lists/partial apt/cache/archives/partial
  for kind in deb deb-src; do echo "$kind [signed-by=$keys] $mirror trixie main"; done >apt/sources.list
  debian apt-get -qq update
  image=$(debian apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2}')
  debian apt-get -qq download bochsbios vgabios busybox-static "$image"
  debian apt-get -qq source --tar-only --download-only bochs
  for package in *.deb; do dpkg -x "$package" root; done
}

bochs() {
  rm -rf bochs
  mkdir bochs
  tar xf bochs_3.0*.orig.tar.xz --strip-components 1 -C bochs || fail "Debian 13 has another Bochs than 3.0 now"
  cd bochs
  patch -p1 <"$here/scripts/bochs-amx.patch"
  ./configure --enable-cpu-level=6 --enable-x86-64 --enable-long-phy-address --enable-pci --enable-monitor-mwait \
    --enable-avx --enable-evex --enable-amx --enable-vmx=2 --enable-cet --enable-uintr --enable-protection-keys \
    --enable-all-optimizations --enable-trace-linking --disable-show-ips --disable-docbook --with-nogui --without-x \
    CFLAGS="-O2 -w" CXXFLAGS="-O2 -w"
  make -j"$(nproc)" bochs
}

step() { # step FUNCTION [FILE]: once, in target/amx, and again when FILE is newer
  test -e "$work/$1.done" && ! test "${2:-}" -nt "$work/$1.done" && return
  echo "==> $1, once: $work/$1.log"
  (set -e; cd "$work"; "$1") >"$work/$1.log" 2>&1 || { tail -n 5 "$work/$1.log" >&2; fail "$1 failed: $work/$1.log"; }
  touch "$work/$1.done"
}
step fetch
step bochs scripts/bochs-amx.patch

# --- what runs in there: static binaries, and their data at the paths that the tests know ---
target=x86_64-unknown-linux-gnu
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
initrd=$work/initrd
program=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/$target/release/qwen-edge
rm -rf "$initrd"
mkdir -p "$initrd"/{bin,dev,proc,tmp} "$initrd$here/tests" "$initrd$(dirname "$program")"
install "$work/root/usr/bin/busybox" "$initrd/bin/"
cargo build --release --locked --target $target
tests() { cargo test --release --locked --target $target --no-run "$@" 2>&1 | sed -n 's/.*Executable.*(\(.*\))/\1/p'; }
for file in $(tests -p qwen-edge-kernels --lib) $(tests --test all); do
  name=$(basename "$file")
  strip "$file" -o "$initrd/${name%-*}"
done
install "$program" "$initrd$program"
cp -r tests/fixtures tests/reference tests/vision "$initrd$here/tests/"
cp models/demo-q8_0.gguf "$initrd/"

# --- the machine ---
answer=(run -p "Count up from 82 to 91." --greedy -n 40 --ctx 512) # as in answers.sh
expected=$("$program" "${answer[@]}" --isa scalar models/demo-q8_0.gguf </dev/null 2>/dev/null)

put() { # put FILE OFFSET BYTE...: overwrites bytes
  local file=$1 offset=$2; shift 2
  printf "$(printf '\\x%02x' "$@")" | dd of="$file" bs=1 seek=$((offset)) conv=notrunc status=none
}
word() { echo $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)); }

boot() { # boot "KERNEL PARAMETERS" "COMMANDS": succeeds if the commands do
  local kernel setup status
  kernel=$(echo "$work"/root/boot/vmlinuz-*)
  cat >"$initrd/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
if sh -e /commands 2>&1; then echo "emulated: passed"; else echo "emulated: FAILED"; fi
sleep 1
reboot -f
INIT
  chmod +x "$initrd/init"
  echo "$2" >"$initrd/commands" # a shell of its own: -e has no effect inside a condition
  cd "$work"
  (cd initrd && find . | ../root/usr/bin/busybox cpio -o -H newc) >initrd.cpio 2>/dev/null

  # No boot loader: the parts of the kernel stand in memory where the boot protocol (Documentation/arch/x86/boot.rst in
  # its sources) wants them, and the first sector of a floppy jumps there.
  setup=$((($(od -An -tu1 -j497 -N1 "$kernel") + 1) * 512))
  head -c $setup "$kernel" >setup.img
  tail -c +$((setup + 1)) "$kernel" >kernel.img
  truncate -s 64K setup.img
  put setup.img 0x210 255 0x81 # a boot loader without a number; loaded high, there is a heap
  put setup.img 0x218 $(word 0x8000000) $(word "$(stat -c %s initrd.cpio)")
  put setup.img 0x224 0x00 0xde # end of the heap
  put setup.img 0x228 $(word 0x1e000)
  # Bochs cannot return from the SMI that turns ACPI on; reboot=t ends in a triple fault, which ends Bochs.
  printf 'console=ttyS0 quiet nokaslr mitigations=off acpi=off reboot=t panic=-1 %s\0' "$1" |
    dd of=setup.img bs=1 seek=$((0xe000)) conv=notrunc status=none
  truncate -s 0 floppy.img
  truncate -s 1440K floppy.img
  # mov ax, 0x1000; ds, es, fs, gs = ax; cli; ss = ax; mov sp, 0xe000; jmp 0x1020:0
  put floppy.img 0 0xb8 0x00 0x10 0x8e 0xd8 0x8e 0xc0 0x8e 0xe0 0x8e 0xe8 0xfa 0x8e 0xd0 0xbc 0x00 0xe0 \
    0xea 0x00 0x00 0x20 0x10
  put floppy.img 510 0x55 0xaa
  cat >bochsrc <<BOCHSRC
cpu: model=sapphire_rapids, count=1, ips=200000000, reset_on_triple_fault=0
memory: guest=1024, host=1024
romimage: file=root/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=root/usr/share/vgabios/vgabios.bin
floppya: 1_44=floppy.img, status=inserted
boot: floppy
optramimage1: file=setup.img, address=0x10000
optramimage2: file=kernel.img, address=0x100000
optramimage3: file=initrd.cpio, address=0x8000000
com1: enabled=1, mode=file, dev=serial.txt
clock: sync=none
display_library: nogui
log: bochs.log
panic: action=fatal
BOCHSRC
  : >serial.txt
  timeout 7200 bochs/bochs -q -f bochsrc >bochs.txt 2>&1 &
  tail -n +1 -f serial.txt --pid=$! -s 0.2
  cd "$here"
  grep -q "emulated: passed" "$work/serial.txt" || fail "failed in the emulated machine: $work/serial.txt"
}

echo "==> with AMX"
boot "" "
export QWEN_EDGE_TEST_ISA=amx
/qwen_edge_kernels --test-threads 2 --quiet
cd $here
/all --test-threads 1 --quiet --nocapture golden:: long_context::
/all --test-threads 1 --quiet --nocapture vision::embeddings_are_those vision::sixteen_bit_weights
for threads in 1 3; do
  found=\$($program $(printf '%q ' "${answer[@]}") --isa amx --threads \$threads /demo-q8_0.gguf </dev/null)
  echo \"answer at amx: \$found\"
  [ \"\$found\" = $(printf '%q' "$expected") ]
done
"

echo "==> the same CPU, whose system does not know of AMX"
boot "clearcpuid=amx_tile" "
$program run -p x --isa amx /demo-q8_0.gguf </dev/null 2>&1 | grep 'this CPU has no amx'
found=\$($program $(printf '%q ' "${answer[@]}") /demo-q8_0.gguf </dev/null)
echo \"answer: \$found\"
[ \"\$found\" = $(printf '%q' "$expected") ]
"
