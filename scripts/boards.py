#!/usr/bin/env python3
"""What the loops of decoding cost on the cores of small boards, and the tokens a second that follow.

    scripts/boards.py            prints the tables of kernels/README.md

Compiles the kernels for aarch64 and looks up, in the assembly, the loop of each format that multiplies one written row.
llvm-mca then says how many cycles an iteration takes on a core, with every load in the first-level cache. A model's token
takes as long as the slower of the two: its arithmetic on the board's cores, or its bytes at the rate of the memory.

Needs LLVM 19 or newer (package llvm-19), and what scripts/aarch64-toolchain.sh makes.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Names of the levels in the code: NeonWith<0> and so on.
NEON, DOTPROD = 0, 1

# Numbers that an instruction of theirs multiplies.
WIDTHS = {NEON: 8, DOTPROD: 16}

# LLVM has no model of the Cortex-A72 and A76: for `-mcpu=cortex-a72` and `cortex-a76` it takes that of the A57. The
# Neoverse N1 is the A76 for servers, and has a model of its own.
CORES = {
    "A72": {"level": NEON, "mcpu": "cortex-a72", "model": "Cortex-A57"},
    "A76": {"level": DOTPROD, "mcpu": "neoverse-n1", "model": "Neoverse N1"},
}

# Cores, their clock, and the bytes of memory that they can read together, as others have measured them.
BOARDS = {
    "Raspberry Pi 4": {"core": "A72", "cores": 4, "ghz": 1.8, "gb_per_s": 4.0},
    "Raspberry Pi 5": {"core": "A76", "cores": 4, "ghz": 2.4, "gb_per_s": 11.0},
}

# Of the models that small boards can hold. Of Q4_K_M about a fifth of the layers' weights is Q6_K, and the head is.
MODELS = {
    "0.8B": dict(n_embd=1024, n_layer=24, n_ff=3584, n_head=8, n_head_kv=2, n_k_head=16, n_v_head=16),
    "2B": dict(n_embd=2048, n_layer=24, n_ff=6144, n_head=8, n_head_kv=2, n_k_head=16, n_v_head=16),
    "4B": dict(n_embd=2560, n_layer=32, n_ff=9216, n_head=16, n_head_kv=4, n_k_head=16, n_v_head=32),
}
SHARE_Q6_K = 0.2

# Weight rows that go side by side.
ROWS = 2

# Bytes of 256 values, and the type's path in the code.
FORMATS = {
    "Q4_0": ("legacy::Q4_0", 144),
    "Q8_0": ("legacy::Q8_0", 272),
    "Q4_K": ("kquants::Q4_K", 144),
    "Q5_K": ("kquants::Q5_K", 176),
    "Q6_K": ("kquants::Q6_K", 210),
    "IQ4_XS": ("kquants::IQ4_XS", 136),
}


def main():
    mca = llvm("llvm-mca")
    assembly = compile_kernels()
    written = {}
    print("Cycles for 256 values of a weight row and one written row:\n")
    print("| format | bytes |", " | ".join(f"{core}, bytes a cycle" for core in CORES), "|")
    print("|---|---|" + "---|" * len(CORES))
    loops = written_row_loops(assembly)
    for name, (path, size) in FORMATS.items():
        cells = []
        for core, facts in CORES.items():
            cycles = block_cycles(mca, loops[facts["level"], path], facts["mcpu"]) / ROWS
            written[core, name] = size / cycles
            cells.append(f"{cycles:.0f}, {size / cycles:.2f}")
        print(f"| {name} | {size} |", " | ".join(cells), "|")

    print("\nProducts of two numbers a cycle, prompt rows:", end=" ")
    prompt = {core: prompt_rate(mca, assembly, facts) for core, facts in CORES.items()}
    print(", ".join(f"{rate:.1f} on the {core}" for core, rate in prompt.items()) + "\n")

    print("| board | model, Q4_K_M | written, by memory | written, by arithmetic | prompt, by arithmetic |")
    print("|---|---|---|---|---|")
    for board, facts in BOARDS.items():
        core, hertz = facts["core"], facts["cores"] * facts["ghz"] * 1e9
        for model, dims in MODELS.items():
            trunk, head = weights(**dims)
            parts = [(trunk * SHARE_Q6_K + head, "Q6_K"), (trunk * (1 - SHARE_Q6_K), "Q4_K")]
            size = sum(n * FORMATS[kind][1] / 256 for n, kind in parts)
            seconds = sum(n * FORMATS[kind][1] / 256 / written[core, kind] for n, kind in parts) / hertz
            by_memory, read = facts["gb_per_s"] * 1e9 / size, hertz * prompt[core] / trunk
            print(f"| {board} | {model}, {size / 1e9:.2f} GB | {by_memory:.1f} | {1 / seconds:.1f} | {read:.0f} |")


def weights(n_embd, n_layer, n_ff, n_head, n_head_kv, n_k_head, n_v_head):
    """Weights of the layers and of the head, in the dimensions of src/synth/dims.rs."""
    attention = n_embd * 256 * (3 * n_head + 2 * n_head_kv)
    linear = n_embd * 128 * (2 * n_k_head + 3 * n_v_head)
    trunk = n_layer * (3 * n_embd * n_ff) + n_layer // 4 * attention + n_layer // 4 * 3 * linear
    return trunk, 248_320 * n_embd


def llvm(program):
    """The newest of LLVM's programs of that name."""
    named = [f"{program}-{version}" for version in range(40, 18, -1)] + [program]
    found = next(filter(shutil.which, named), None)
    return found or sys.exit(f"{program} is missing: install LLVM 19 or newer")


def compile_kernels():
    """The kernels as assembly for aarch64."""
    script = """
    set -e
    scripts/aarch64-toolchain.sh
    . target/aarch64/env
    cd kernels
    cargo rustc --quiet --release --target "$AARCH64_TARGET" --lib -- --emit asm -C symbol-mangling-version=v0
    ls -t ../target/"$AARCH64_TARGET"/release/deps/qwen_edge_kernels-*.s | head -n 1
    """
    said = subprocess.run(["bash", "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return (ROOT / "kernels" / said.split()[-1]).read_text()


def written_row_loops(assembly):
    """The loop over 256 values of two weight rows times a written one: {(level, format): instructions}."""
    bodies = re.findall(r"^(_R\w*gemv_quantised\w*):\n(.*?)^\.Lfunc_end", assembly, re.M | re.S)
    names = "\n".join(name for name, _ in bodies)
    names = subprocess.run([llvm("llvm-cxxfilt")], input=names, stdout=subprocess.PIPE, text=True, check=True).stdout
    loops = {}
    for name, (_, body) in zip(names.splitlines(), bodies):
        found = re.search(r"NeonWith<(\d)>.*gemv_quantised::<.*::formats::([\w:]+), 1, 1>", name)
        if found and int(found[1]) in WIDTHS:
            lines, level = body.splitlines(), int(found[1])
            loops[level, found[2]] = main_loop(lines, ROWS * 256 // WIDTHS[level])
    return loops


def prompt_rate(mca, assembly, facts):
    """Products of two numbers in a cycle of the loop over 32 values of 16 weight rows and four prompt rows."""
    level = facts["level"]
    name = rf"_R\w*NeonWithKh{level}_\w*multiply_quantisedKb0_Kj1_E\w*"
    body = re.search(rf"^{name}:\n(.*?)^\.Lfunc_end", assembly, re.M | re.S)[1]
    values = 16 * 4 * 32
    return values / block_cycles(mca, main_loop(body.splitlines(), values // WIDTHS[level]), facts["mcpu"])


def main_loop(lines, needed):
    """The loop around the innermost one that multiplies, with that written out until it has multiplied `needed` times."""
    at = {line.split(":")[0]: i for i, line in enumerate(lines) if re.match(r"\.LBB\w+:", line)}
    spans = []
    for end, line in enumerate(lines):
        target = re.match(r"\s+(?:b\S*|cbn?z|tbn?z)\s.*?(\.LBB\w+)$", line)
        if target and at.get(target[1], end) < end:
            spans.append((at[target[1]], end + 1))

    def within(s, t):
        return s != t and t[0] <= s[0] and s[1] <= t[1]

    inner = max((s for s in spans if not any(within(t, s) for t in spans)), key=lambda s: products(lines[s[0]:s[1]]))
    outer = min((s for s in spans if within(inner, s)), key=lambda s: s[1] - s[0])
    once = lines[inner[0]:inner[1]]
    code = lines[outer[0]:inner[0]] + needed // products(once) * once + lines[inner[1]:outer[1]]
    return [line for line in code if re.match(r"\t[a-z]", line)]


def products(code):
    """Instructions of a piece of code that multiply bytes."""
    return sum(bool(re.match(r"\t(smull2?|smlal2?|sdot)\s+v", line)) for line in code)


def block_cycles(mca, code, mcpu):
    """Cycles of an iteration when many follow each other."""
    command = [mca, "-mtriple=aarch64", f"-mcpu={mcpu}", "-mattr=+dotprod", "-iterations=200"]
    said = subprocess.run(command, input="\n".join(code), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    total = re.search(r"Total Cycles:\s+(\d+)", said.stdout)
    if not total:
        sys.exit(f"{mca} did not take the loop:\n{said.stderr}")
    return int(total[1]) / 200


if __name__ == "__main__":
    main()
