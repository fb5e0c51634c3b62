"""The state folder: private, replaced whole, readable after anything."""

import stat
from pathlib import Path

import msgspec
import pytest

from agent.state import Identity, State, StateDamaged, StateUnusable, replace_file
from wire.settings import AgentSettings, JoinAnswer, Role

ANSWER = JoinAnswer(agent="a1", token="pha_secret", province="udon-thani", site="mueang", link="main", role=Role.LINK)


def test_identity_settings_and_what_was_learned_survive(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    assert state.identity() is None and state.settings() is None and state.learned() == {}
    identity = Identity.of("https://collector.example", "PEM", ANSWER)
    state.keep_identity(identity)
    state.keep_token("pha_rotated")
    state.keep_settings(AgentSettings(revision="r1", site="mueang"))
    state.keep_learned({"edge": "100.64.0.1"})
    again = State(tmp_path / "state")
    assert again.identity() == msgspec.structs.replace(identity, token="pha_rotated")
    assert again.settings() == AgentSettings(revision="r1", site="mueang")
    assert again.learned() == {"edge": "100.64.0.1"}


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.keep_identity(Identity.of("https://collector.example", "", ANSWER))
    state.keep_learned({})
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(one.stat().st_mode) for one in state.folder.iterdir()} == {0o600}


def test_a_damaged_identity_says_what_to_do_and_other_files_are_simply_missing(tmp_path: Path) -> None:
    state = State(tmp_path)
    for name in ("identity.json", "settings.json", "learned.json", "join-files.json"):
        (tmp_path / name).write_text('{"half')
    with pytest.raises(StateDamaged, match="expected what joining wrote; join again: phrom-agent join URL CODE"):
        state.identity()
    assert state.settings() is None and state.learned() == {} and state.used_join_files() == []


def test_an_interrupted_replacement_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    replace_file(file, b"old")

    def cut(*_: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr("os.fsync", cut)
    with pytest.raises(OSError, match="power cut"):
        replace_file(file, b"new")
    assert file.read_bytes() == b"old"
    monkeypatch.undo()
    replace_file(file, b"new")
    assert file.read_bytes() == b"new" and [one.name for one in tmp_path.iterdir()] == ["f"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnusable) as found:
        State(tmp_path / "file" / "state").keep_learned({})
    assert str(found.value) == (
        f"{tmp_path / 'file' / 'state'}: Not a directory; expected a folder that the agent's user can read and write "
        "(setting 'state', or StateDirectory= of the systemd unit)"
    )


def test_only_the_latest_join_files_are_remembered(tmp_path: Path) -> None:
    state = State(tmp_path)
    for number in range(30):
        state.keep_used_join_file(f"{number}")
    assert state.used_join_files() == [str(number) for number in range(10, 30)]
