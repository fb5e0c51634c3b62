"""``python -m dashboards`` writes the JSON; with ``--check`` it only says which files differ."""

import sys

from dashboards import generated


def main(arguments: list[str]) -> int:
    """Returns 0 when all is well and 1 when ``--check`` found a difference."""
    check = "--check" in arguments
    different = 0
    for path, text in generated().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            different = 1
            print(f"{path.name}: differs from what the code makes; run make docs", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(path.name)
    return different


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
