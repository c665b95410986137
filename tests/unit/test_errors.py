from __future__ import annotations

import errno
import pickle

import pytest

from unotify import errors
from unotify.protocol import Fail


def test_all_lists_each_public_class_once_and_sorted() -> None:
    """`__all__` is sorted and names exactly the exceptions that the module defines."""
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(errors.__all__) == defined
    assert errors.__all__ == sorted(errors.__all__)


def test_everything_is_an_error() -> None:
    """The command line can catch `Error` once and has caught all of them."""
    assert all(issubclass(getattr(errors, name), errors.Error) for name in errors.__all__)


@pytest.mark.parametrize(
    ("family", "members"),
    [
        (
            errors.PolicyError,
            {
                "UnknownName",
                "NotExpressible",
                "FilterTooLarge",
                "Conflict",
                "RacyContinue",
                "InvalidPolicy",
                "InvalidProgram",
            },
        ),
        (errors.ProtocolError, {"LocalProtocolError", "KernelProtocolError"}),
        (errors.TargetError, {"TargetGone", "BadAddress", "PathTooLong", "Refused"}),
        (errors.KernelError, {"Unsupported", "AlreadySupervised"}),
        (errors.HandlerFault, set()),
    ],
)
def test_families(family: type[Exception], members: set[str]) -> None:
    """Each error belongs to the family of those who have to act."""
    assert {cls.__name__ for cls in family.__subclasses__()} == members


def test_hint_is_none_unless_given() -> None:
    """A hint belongs to one error; it does not stay with the class."""
    assert errors.Error("x", hint="do y").hint == "do y"
    assert errors.Error("x").hint is None
    assert errors.Error.hint is None


def test_policy_error_knows_its_place() -> None:
    """A policy error carries source, line and column, and is a ValueError."""
    error = errors.PolicyError("bad", source="p.toml", line=3, column=7, hint="h")
    assert (error.source, error.line, error.column, error.hint) == ("p.toml", 3, 7, "h")
    assert str(error) == "bad"
    assert isinstance(error, ValueError)


def test_protocol_error_is_abstract() -> None:
    """Somebody broke the rules: the class says who, so the root is never raised itself."""
    with pytest.raises(TypeError, match="abstract"):
        errors.ProtocolError("x")
    assert str(errors.LocalProtocolError("x", hint="h")) == "x"
    assert errors.KernelProtocolError("x", hint="h").hint == "h"


@pytest.mark.parametrize(
    ("cls", "number"),
    [
        (errors.TargetError, errno.EPERM),
        (errors.TargetGone, errno.ESRCH),
        (errors.BadAddress, errno.EFAULT),
        (errors.PathTooLong, errno.ENAMETOOLONG),
        (errors.Refused, errno.EPERM),
    ],
)
def test_target_errors_carry_an_errno(cls: type[errors.TargetError], number: int) -> None:
    """Each target error has the errno that the target gets, and one that can be sent."""
    assert cls().errno == number
    assert str(cls()) == errors._os.strerror(number)
    Fail(cls().errno)
    assert cls("why", errno=errno.EBUSY).errno == errno.EBUSY
    assert str(cls("why", errno=errno.EBUSY)) == "why"
    assert cls.errno == number


def test_kernel_error_is_an_os_error_that_names_the_call() -> None:
    """A kernel error has errno and strerror as any OSError, and says which call failed."""
    error = errors.KernelError(errno.ENOENT, "ioctl(2)")
    assert isinstance(error, OSError)
    assert (error.errno, error.call, error.hint) == (errno.ENOENT, "ioctl(2)", None)
    assert str(error) == "ioctl(2): No such file or directory"
    assert str(errors.KernelError(errno.EIO, "x(2)", "told", hint="h")) == "x(2): told"


def test_kernel_error_stays_a_kernel_error_for_each_errno() -> None:
    """OSError would turn some errnos into a subclass of its own; ours stays ours."""
    for number in (errno.ENOENT, errno.EPERM, errno.EINTR, errno.ESRCH, errno.ETIMEDOUT):
        assert type(errors.KernelError(number, "x(2)")) is errors.KernelError


def test_unsupported_names_the_feature() -> None:
    """An unsupported feature is EOPNOTSUPP and named."""
    error = errors.Unsupported("addfd", "ioctl(2)", hint="newer kernel")
    assert (error.feature, error.errno, error.hint) == ("addfd", errno.EOPNOTSUPP, "newer kernel")
    assert "addfd" in str(error)


def test_already_supervised_names_the_ancestor() -> None:
    """F4, F7: EBUSY is told as "already supervised by", with a hint in any case."""
    error = errors.AlreadySupervised("docker")
    assert (error.errno, error.ancestor) == (errno.EBUSY, "docker")
    assert "already supervised by docker" in str(error)
    assert error.hint
    assert errors.AlreadySupervised("docker", hint="h").hint == "h"


def test_handler_fault_says_who_what_and_what_instead() -> None:
    """A fault carries the call, the handler's name and the reply that was sent instead."""
    call, reply = object(), Fail(1)
    fault = errors.HandlerFault("m", call=call, handler="f", reply=reply)
    assert (fault.call, fault.handler, fault.reply, str(fault)) == (call, "f", reply, "m")


def test_target_errors_survive_a_pickle() -> None:
    """Helper processes send them over pipes: message and errno arrive."""
    error = pickle.loads(pickle.dumps(errors.Refused("no", errno=errno.EROFS)))
    assert (type(error), str(error), error.errno) == (errors.Refused, "no", errno.EROFS)
