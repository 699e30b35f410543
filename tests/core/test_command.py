"""What a user sees of errors in commands."""

import pytest

from mobileinst_core.command import INTERRUPTED, command
from mobileinst_core.errors import ConfigError, UserError


def raising(error):
    @command
    def main(argv=None):
        raise error

    return main


@pytest.mark.parametrize(
    "error", [UserError("no such key"), ConfigError("no such key"), OSError("no such key")]
)
def test_errors_for_the_user_are_told_without_a_traceback(error, capsys):
    assert raising(error)() == 1
    assert capsys.readouterr().err == "error: no such key\n"


def test_ctrl_c_has_the_status_of_shells(capsys):
    assert raising(KeyboardInterrupt())([]) == INTERRUPTED == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_mistakes_of_the_project_keep_their_traceback():
    with pytest.raises(ValueError, match="ours"):
        raising(ValueError("ours"))()
