"""What root may do to its files and to itself, and what comes of it: as JSON, one line per case.

Run by root, really, and by an ordinary user who plays root, it has to say the same.
"""

import ctypes
import errno
import json
import os
import stat
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
SYS = {
    "capget": 125,
    "capset": 126,
    "setfsuid": 122,
    "setfsgid": 123,
    "setuid": 105,
    "setgid": 106,
    "setreuid": 113,
    "setregid": 114,
    "setresuid": 117,
    "setresgid": 119,
    "setgroups": 116,
    "prctl": 157,
    "fchmodat2": 452,
    "linkat": 265,
    "statx": 332,
}
CASES = {}


def case(function):
    """Register a case."""
    CASES[function.__name__[1:]] = function
    return function


def call(name, *args):
    """A raw system call: its value, or the name of its error."""
    words = [a if isinstance(a, bytes) or a is None else ctypes.c_long(a) for a in args]
    done = libc.syscall(ctypes.c_long(SYS[name]), *words)
    return done if done >= 0 else errno.errorcode[ctypes.get_errno()]


def tried(function, *args, **more):
    """What it returns, or the name of its error."""
    try:
        found = function(*args, **more)
    except OSError as error:
        return errno.errorcode[error.errno]
    return found if isinstance(found, (int, str, list, tuple)) or found is None else repr(found)


def shown(path, **more):
    """What a file looks like."""
    found = os.stat(path, follow_symlinks=False, **more)
    device = [os.major(found.st_rdev), os.minor(found.st_rdev)]
    return [oct(found.st_mode), found.st_uid, found.st_gid, device, found.st_nlink, found.st_size]


def ids():
    """Who this process is."""
    return [os.getresuid(), os.getresgid(), os.getgroups()]


def caps(pid=0):
    """Its capabilities: effective, permitted, inheritable."""
    data = ctypes.create_string_buffer(24)
    done = call("capget", struct.pack("=Ii", 0x20080522, pid), ctypes.addressof(data))
    if done != 0:
        return done
    words = struct.unpack("=6I", data.raw)
    # CAP_SYS_RESOURCE is what the root of a container may lack.
    return [hex((words[at] | words[at + 3] << 32) & ~(1 << 24)) for at in range(3)]


def set_caps(effective, permitted, inheritable):
    """Set them."""
    sets = (effective, permitted, inheritable)
    data = struct.pack("=6I", *(s & 0xFFFFFFFF for s in sets), *(s >> 32 for s in sets))
    return call("capset", struct.pack("=Ii", 0x20080522, 0), data)


def forked(function):
    """What a child says."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, json.dumps(function()).encode())
        os._exit(0)
    os.close(writer)
    said = b""
    while piece := os.read(reader, 65536):
        said += piece
    os.close(reader)
    os.wait()
    return json.loads(said or b"null")


def ran(code):
    """What another program says."""

    def execute():
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.dup2(writer, 1)
            os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, "--run", code])
        os.close(writer)
        said = b""
        while piece := os.read(reader, 65536):
            said += piece
        os.wait()
        return json.loads(said)

    return execute()


def made(name, mode=0o644):
    """A file."""
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, mode))
    return name


def _read(name):
    with open(name) as file:
        return file.read()


# -- files ----------------------------------------------------------------------------------------


@case
def _new_files_are_roots():
    os.mkdir("d")
    os.symlink("a", "s")
    return [shown(made("a")), shown("d")[:3], shown("s")]


@case
def _owners():
    made("a"), os.symlink("a", "s"), os.mkdir("d")
    os.chown("a", 5, 6)
    os.lchown("s", 7, 8)
    os.chown("d", -1, 9)
    os.chown("s", 10, -1)
    fd = os.open("a", os.O_RDONLY)
    found = [shown("a"), shown("s"), shown("d")[:3], os.fstat(fd).st_uid, os.stat("s").st_uid]
    os.fchown(fd, 0, 0)
    return [*found, shown("a"), tried(os.chown, "no", 1, 1), tried(os.fchown, 99, 1, 1)]


@case
def _owners_of_unopened():
    made("a")
    path = os.open("a", os.O_PATH)
    return [tried(os.fchown, path, 1, 1), tried(os.fchmod, path, 0), os.fstat(path).st_uid]


@case
def _giving_away_takes_set_user_id():
    made("a"), os.mkdir("d")
    os.chmod("a", 0o6755), os.chmod("d", 0o6755)
    before = [shown("a"), shown("d")[:3]]
    os.chown("a", 1, 1), os.chown("d", 1, 1)
    made("b"), os.chmod("b", 0o6745), os.chown("b", 0, 0)
    return [before, shown("a"), shown("d")[:3], shown("b")]


@case
def _modes():
    found = []
    made("a"), os.mkdir("d")
    for mode in (0, 0o400, 0o4711, 0o1777, 0o2070, 0o644):
        os.chmod("a", mode), os.chmod("d", mode)
        found += [shown("a")[0], shown("d")[0], os.listdir("d"), _read("a")]
    os.symlink("a", "s")
    found.append(call("fchmodat2", -100, b"s", 0o600, 0x100))
    found += [tried(os.chmod, "no", 0), shown("a"), call("fchmodat2", -100, b"a", 0, 0x4000)]
    return found


@case
def _directories():
    os.umask(0o027)
    os.mkdir("d", 0o555), os.mkdir("e", 0o1000), os.mkdir("f", 0o4070)
    for name in "def":
        made(f"{name}/a")
    found = [shown(name)[:3] for name in "def"] + [tried(os.mkdir, "d", 0)]
    found += [tried(os.mkdir, "no/d", 0), os.listdir("e")]
    os.chmod("d", 0o2755)
    os.mkdir("d/below", 0o500)
    return [*found, shown("d/below")[0]]


@case
def _access():
    made("a")
    found = []
    for mode in (0, 0o400, 0o010, 0o604, 0o711):
        os.chmod("a", mode)
        found.append([os.access("a", how) for how in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)])
    return found


@case
def _devices():
    os.umask(0o027)
    os.mknod("c", stat.S_IFCHR | 0o666, os.makedev(300, 70000))
    os.mknod("b", stat.S_IFBLK | 0o4600, os.makedev(8, 1))
    os.mknod("p", stat.S_IFIFO | 0o666)
    found = [shown("c"), shown("b"), shown("p"), tried(os.mknod, "c", stat.S_IFCHR, 1)]
    os.chown("c", 3, 4), os.chmod("c", 0o600)
    os.link("c", "hard"), os.rename("c", "moved")
    found += [shown("hard"), shown("moved"), tried(os.stat, "c")]
    found.append(tried(os.mknod, "no/x", stat.S_IFCHR, 1))
    found.append(tried(os.mknod, "x/", stat.S_IFCHR, 1))
    return found


@case
def _what_is_removed_is_forgotten():
    made("a"), os.chown("a", 5, 5), os.link("a", "b"), os.unlink("a")
    found = [shown("b")]
    fd = os.open("b", os.O_RDWR)
    os.unlink("b")
    found += [os.fstat(fd).st_uid, os.fstat(fd).st_nlink]
    for name in "cdefgh":
        found.append(shown(made(name)))
    os.fchown(fd, 8, 8)
    found.append(os.fstat(fd).st_uid)
    os.mkdir("dir"), os.chown("dir", 4, 4), os.rmdir("dir"), os.mkdir("dir")
    found.append(shown("dir")[:3])
    made("x"), made("y"), os.chown("x", 1, 1), os.chown("y", 2, 2), os.rename("x", "y")
    found.append(shown("y"))
    return [*found, tried(os.unlink, "no"), tried(os.rmdir, "no"), tried(os.rename, "no", "n")]


@case
def _unnamed_files_that_get_a_name():
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.fchown(fd, 12, 13)
    found = [os.fstat(fd).st_uid]
    found.append(call("linkat", -100, b"/proc/self/fd/%d" % fd, -100, b"named", 0x400))
    return [*found, shown("named")]


@case
def _statx_says_the_same():
    made("a"), os.chown("a", 5, 6), os.chmod("a", 0o4755)
    buffer = ctypes.create_string_buffer(256)
    found = []
    for path, dirfd, flags, mask in [
        *(
            (b"a", -100, 0, 0x7FF),
            (b"a", -100, 0x100, 0x7FF),
            (b"", os.open("a", 0), 0x1000, 0x7FF),
        ),
        *((b"a", -100, 0x6000, 0x7FF), (b"a", -100, 0, 0x80000000), (b"no", -100, 0, 0x7FF)),
        *((b"", -100, 0, 0x7FF), (b"", 99, 0x1000, 0x7FF), (b"a", -100, 0x4, 0x7FF)),
    ]:
        done = call("statx", dirfd, path, flags, mask, ctypes.addressof(buffer))
        found.append([done, *struct.unpack_from("=IIH", buffer.raw, 20)])
    return found


@case
def _attributes():
    made("a"), os.mkdir("d")
    capability = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
    os.setxattr("a", "trusted.one", b"1")
    os.setxattr("a", "security.capability", capability)
    os.setxattr("a", "user.own", b"mine")
    found = [sorted(os.listxattr("a")), os.getxattr("a", "trusted.one").hex()]
    found.append(os.getxattr("a", "security.capability").hex())
    found.append(tried(os.setxattr, "a", "trusted.one", b"2", os.XATTR_CREATE))
    found.append(tried(os.setxattr, "a", "trusted.two", b"2", os.XATTR_REPLACE))
    found.append(tried(os.setxattr, "a", "security.capability", b"nonsense"))
    os.chown("a", 1, 1)  # takes the capability
    found.append(sorted(os.listxattr("a")))
    os.removexattr("a", "trusted.one")
    found.append(tried(os.removexattr, "a", "trusted.one"))
    found.append(tried(os.getxattr, "a", "trusted.one"))
    fd = os.open("a", os.O_RDONLY)
    os.setxattr(fd, "trusted.fd", b"3")
    return [*found, sorted(os.listxattr(fd)), os.getxattr(fd, "trusted.fd").hex()]


def acl(*entries):
    """The value of an access control list."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


NONE = 0xFFFFFFFF


@case
def _access_control_lists():
    made("a"), os.mkdir("d")
    name = "system.posix_acl_access"
    os.setxattr(
        "a", name, acl((1, 6, NONE), (2, 7, 55), (4, 4, NONE), (16, 5, NONE), (32, 0, NONE))
    )
    found = [shown("a"), os.getxattr("a", name).hex(), os.listxattr("a")]
    os.chmod("a", 0o741)
    found += [shown("a"), os.getxattr("a", name).hex()]
    os.setxattr("a", name, acl((1, 7, NONE), (4, 5, NONE), (32, 4, NONE)))
    found += [shown("a"), tried(os.getxattr, "a", name)]
    found.append(tried(os.setxattr, "a", name, acl((1, 7, NONE))))
    found.append(tried(os.setxattr, "a", "system.posix_acl_default", acl()))
    default = acl((1, 7, NONE), (4, 5, NONE), (32, 0, NONE))
    found.append(tried(os.setxattr, "a", "system.posix_acl_default", default))
    os.setxattr("d", "system.posix_acl_default", default)
    return [*found, os.listxattr("d"), os.getxattr("d", "system.posix_acl_default").hex()]


# -- processes ------------------------------------------------------------------------------------


@case
def _who_begins():
    return [ids(), caps()]


@case
def _one_way():
    os.setgroups([3, 1, 2])
    os.setgid(5)
    os.setuid(6)
    found = [ids(), caps()]
    return [*found, call("setuid", 0), call("setgid", 0), call("setgroups", 0, None), ids()]


@case
def _there_and_back():
    os.seteuid(1000)
    found = [ids(), caps(), call("setuid", 7), tried(os.seteuid, 5)]
    os.seteuid(0)
    found += [ids(), caps()]
    os.setresuid(1, 2, 3)
    found += [ids(), call("setresuid", 3, 1, -1), ids(), call("setresuid", 9, -1, -1), ids()]
    return [*found, call("setreuid", 2, 3), ids(), call("setreuid", 1, -1), ids()]


@case
def _groups_change_no_capability():
    os.setresgid(1, 2, 3)
    found = [ids(), caps(), call("setregid", 2, 3), ids(), call("setgid", 9), ids()]
    os.setuid(1)
    return [*found, call("setresgid", 4, -1, -1), call("setgid", 9), call("setregid", 9, 9), ids()]


@case
def _nonsense():
    return [
        *(call("setuid", -1), call("setgid", -1), call("setgroups", -1, None)),
        *(call("setgroups", 1, 8), call("setfsuid", -1), call("setfsgid", -1)),
        *(call("capget", struct.pack("=Ii", 1, 0), None), call("capset", b"\0" * 8, b"\0" * 24)),
        # Neither is a pointer to anything (charliecloud#1891 had that dereferenced).
        *(call("capset", None, None), call("capget", None, None)),
        call("capset", struct.pack("=Ii", 0x20080522, 0), None),
        *(caps(-1), caps(999999), call("prctl", 24, 64, 0, 0, 0), call("prctl", 8, 2, 0, 0, 0)),
        call("prctl", 47, 9, 0, 0, 0),
    ]


@case
def _file_system_ids():
    found = [call("setfsuid", 55), call("setfsuid", 66), call("setfsuid", -1), caps()]
    found += [call("setfsgid", 7), call("setfsgid", -1)]
    os.setuid(3)
    return [*found, call("setfsuid", 9), call("setfsuid", -1), ids()]


@case
def _fewer_capabilities():
    kill = 1 << 5
    found = [set_caps(kill, kill, kill), caps(), set_caps(kill, kill | 1, 0), set_caps(0, kill, 0)]
    made("a")
    return [
        *found,
        caps(),
        tried(os.chown, "a", 5, 5),
        tried(os.mknod, "n", stat.S_IFCHR, 1),
        ids(),
    ]


@case
def _capabilities_that_are_kept():
    found = [
        call("prctl", 7, 0, 0, 0, 0),
        call("prctl", 8, 1, 0, 0, 0),
        call("prctl", 7, 0, 0, 0, 0),
    ]
    os.setresuid(5, 5, 5)
    found += [caps(), set_caps(1, 1, 1), caps(), call("prctl", 47, 2, 0, 0, 0)]
    return [*found, call("prctl", 47, 1, 0, 0, 0), ran("[ids(), caps()]")]


@case
def _bounds():
    found = [
        call("prctl", 23, 5, 0, 0, 0),
        call("prctl", 24, 5, 0, 0, 0),
        call("prctl", 23, 5, 0, 0, 0),
    ]
    return [*found, caps(), ran("[caps(), call('prctl', 23, 5, 0, 0, 0)]")]


@case
def _secure_bits():
    found = [call("prctl", 28, 4, 0, 0, 0), call("prctl", 27, 0, 0, 0, 0)]
    os.setresuid(5, 5, 5)
    return [*found, caps(), ran("[ids(), caps()]")]


@case
def _children_inherit():
    os.setresuid(1, 2, 0)
    found = [forked(lambda: [ids(), caps()]), ran("[ids(), caps()]")]
    os.seteuid(0)
    return [*found, forked(ids), ran("ids()")]


@case
def _children_keep_what_they_were_born_as():
    reader, writer = os.pipe()
    back, go = os.pipe()
    if os.fork() == 0:
        os.close(go)
        os.read(back, 1)
        os.write(writer, json.dumps([ids(), caps()]).encode())
        os._exit(0)
    os.setresuid(9, 9, 9)
    os.write(go, b"x")
    said = json.loads(os.read(reader, 65536))
    os.wait()
    return [said, ids()]


@case
def _orphans_inherit():
    reader, writer = os.pipe()
    alive, life = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.setresuid(9, 9, 9)
        if os.fork() == 0:
            os.close(life)
            os.read(alive, 1)  # until its parent has ended
            os.write(writer, json.dumps(ids()).encode())
        os._exit(0)
    os.close(life)
    os.wait()
    return json.loads(os.read(reader, 65536))


@case
def _strangers_may_not():
    made("a"), os.mkdir("d")
    os.chown("a", 5, 6), os.chmod("a", 0o666), made("own"), os.chown("own", 7, 7)
    os.chmod(".", 0o777)
    os.setgroups([8]), os.setgid(7), os.setuid(7)
    return [
        *(tried(os.chown, "a", 7, -1), tried(os.chmod, "a", 0), tried(os.chown, "own", 8, -1)),
        *(
            tried(os.chown, "own", -1, 8),
            tried(os.chown, "own", -1, 9),
            tried(os.chown, "own", 7, 7),
        ),
        *(tried(os.chmod, "own", 0o2755), shown("own"), tried(os.mknod, "x", stat.S_IFCHR, 1)),
        *(tried(os.setxattr, "own", "trusted.x", b""), tried(os.getxattr, "own", "trusted.x")),
        tried(
            os.setxattr, "own", "security.capability", struct.pack("<5I", 0x02000001, 1, 0, 0, 0)
        ),
    ]


def main():
    """Each case in a process and a directory of its own."""
    if sys.argv[1] == "--run":
        print(json.dumps(eval(sys.argv[2])))
        return
    os.umask(0o022)
    top = sys.argv[1]
    os.setgroups([0])
    for name, function in CASES.items():
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        directory = os.path.join(top, name)
        os.mkdir(directory)
        os.chmod(directory, 0o755)

        def within(function=function, directory=directory):
            os.chdir(directory)
            try:
                return function()
            except Exception as error:
                return repr(error)

        print(json.dumps([name, forked(within)]), flush=True)


if __name__ == "__main__":
    main()
