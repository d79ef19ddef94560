"""Fails when a source file includes a layer that its CMake target does not declare (transitively)."""
import pathlib
import re
import sys


def main() -> int:
    root, layers_file = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    direct = {}
    for line in layers_file.read_text().split():
        name, _, deps = line.partition(":")
        direct[name] = [d for d in deps.split(",") if d]

    def reach(name: str, seen: frozenset) -> set:
        if name in seen:
            sys.exit(f"layering: cycle through {name}")
        found = {name}
        for dep in direct[name]:
            found |= reach(dep, seen | {name})
        return found

    allowed = {name: reach(name, frozenset()) for name in direct}
    problems, arrows = [], 0
    for path in sorted((root / "src").rglob("*")):
        if path.suffix not in {".h", ".cpp", ".cu", ".cuh"}:
            continue
        layer = path.relative_to(root / "src").parts[0]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"/]+)/', line)
            if not match:
                continue
            arrows += 1
            if match.group(1) not in allowed.get(layer, set()):
                problems.append(f"{path.relative_to(root)}:{number}: {layer} does not declare {match.group(1)}")
            if layer != "kernels" and path.suffix in {".cu", ".cuh"}:
                problems.append(f"{path.relative_to(root)}: CUDA sources belong to kernels/")
    print("\n".join(problems) or f"layering: {len(direct)} layers, {arrows} includes, all downward")
    if not arrows:
        sys.exit("layering: found no include at all; is the path right?")
    return 1 if problems else 0


sys.exit(main())
