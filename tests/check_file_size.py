"""Files hold one idea: warns above 400 lines, fails above 600."""
import pathlib
import sys

root = pathlib.Path(sys.argv[1])
limit, hint, failed = 600, 400, False
paths = [p for d in ("src", "tests", "tools", "scripts", "fuzz") for p in sorted((root / d).rglob("*"))]
paths = [p for p in paths if p.suffix in {".h", ".cpp", ".cu", ".cuh", ".py", ".sh"}]
if not paths:
    sys.exit("file size: found no source")
for path in paths:
    lines = len(path.read_text(errors="replace").splitlines())
    if lines > hint:
        print(f"{path.relative_to(root)}: {lines} lines" + (" (over the limit)" if lines > limit else ""))
    failed |= lines > limit
sys.exit(1 if failed else 0)
