"""Lists of other tools: any text is a policy or a policy error, and quickly."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from unotify.errors import PolicyError
from unotify.policy.compiling import compile_policy
from unotify.policy.foreign import FORMATS, import_list
from unotify.policy.writing import to_toml

WORDS = (
    "read write openat mount nosuch @mount @default @swap ~ ! % ? : ; , { } ( ) [ ] | || & && == "
    "!= < <= > >= << arg0 arg1 fd buf in 0 1 -1 0x7fffffff 08 O_CREAT EPERM :EPERM return allow "
    "kill user-notify log ALLOW ERRNO TRAP KILL DENY POLICY USE DEFAULT a #define X 1 // /* */ "
    "trace= inject= fault= :error=EPERM :retval=3 %file %%stat all none /^mk SystemCallFilter= "
    "SystemCallErrorNumber= SystemCallArchitectures= SystemCallLog= native @default @include \\"
)
words = st.sampled_from([*WORDS.split(), "\n", " ", "\n\n"])
texts = st.lists(words, max_size=25).flatmap(
    lambda found: st.sampled_from([" ".join(found), "".join(found)])
)


@given(st.sampled_from(sorted(FORMATS)), texts | st.text(max_size=40))
@settings(max_examples=400)
def test_any_text(form: str, text: str) -> None:
    """Whatever is read is a policy that compiles, and that can mostly be written, or an error."""
    try:
        policy = import_list(text, form).policy
    except PolicyError as error:
        told = str(error)
    else:
        told = "a policy"
        compile_policy(policy)
        try:
            to_toml(policy)
        except PolicyError as error:
            told = str(error)
    assert told
