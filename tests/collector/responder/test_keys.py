"""The shared secret: made whole and private, or told with the way out."""

import os
import threading
from pathlib import Path

import pytest

from collector.responder.keys import BadKey, ensure_key, key_file, read_key


def test_a_key_is_made_once_private_and_without_leftovers(tmp_path: Path) -> None:
    file = key_file(tmp_path / "data", "hall")
    assert file == tmp_path / "data" / "responders" / "hall.key"
    made = ensure_key(file)
    assert len(made) == 32
    assert ensure_key(file) == read_key(file) == made
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in file.parent.iterdir()] == ["hall.key"]


def test_many_that_make_it_at_once_agree(tmp_path: Path) -> None:
    file, found = tmp_path / "k" / "hall.key", []
    begin = threading.Barrier(8)

    def make() -> None:
        begin.wait()
        found.append(ensure_key(file))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [one.name for one in file.parent.iterdir()] == ["hall.key"]


def written(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    file = tmp_path / "hall.key"
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"", 0o600, "found 0 bytes, expected exactly 32; copy it from the collector again"),
        (b"k" * 31, 0o600, "found 31 bytes, expected exactly 32; copy it from the collector again"),
        (b"k" * 33, 0o600, "found more than 32 bytes, expected exactly 32; copy it from the collector again"),
        (b"k" * 32, 0o640, "others may read it (mode 0640); chmod 600 {file}"),
        (b"k" * 32, 0o604, "others may read it (mode 0604); chmod 600 {file}"),
    ],
)
def test_a_key_that_does_not_serve_is_told(tmp_path: Path, content: bytes, mode: int, words: str) -> None:
    file = written(tmp_path, content, mode)
    with pytest.raises(BadKey) as bad:
        read_key(file)
    assert str(bad.value) == f"{file}: " + words.format(file=file)
    assert "kkk" not in str(bad.value)


def test_a_missing_key_says_where_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "hall.key"
    with pytest.raises(BadKey) as bad:
        read_key(file)
    assert str(bad.value) == (
        f"{file}: not found; copy the file of that name from the folder responders of the collector's data folder"
    )


def test_neither_a_link_nor_a_folder_nor_a_device_is_a_key(tmp_path: Path) -> None:
    real = written(tmp_path, b"k" * 32)
    link = tmp_path / "link.key"
    link.symlink_to(real)
    with pytest.raises(BadKey, match="Too many levels of symbolic links"):
        read_key(link)
    with pytest.raises(BadKey, match="not a regular file; expected the 32 bytes that the collector made"):
        read_key(Path(os.devnull))
    with pytest.raises(BadKey, match="Is a directory"):
        read_key(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadKey, match="not made: File exists; expected a folder that can be written"):
        ensure_key(tmp_path / "file" / "hall.key")
