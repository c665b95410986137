"""What the programs do; each script gets a Python as its argument, and starts in an empty place."""
# ruff: noqa: E501

from typing import Final

__all__ = [
    "BUSYBOX",
    "COMPILEALL",
    "CP",
    "CURL",
    "FIND",
    "GIT",
    "MAKE",
    "PIP",
    "RSYNC",
    "SHELL",
    "SOCKETS",
    "SQLITE",
    "TAR",
]

# Files of all kinds, with modes, times and attributes.
_TREE: Final = r"""
mkdir -p tree/a/b tree/empty tree/'with space'
for n in 1 2 3 4 5 6 7 8; do echo "file $n" > tree/a/f$n; done
printf 'no end' > tree/a/b/partial; : > tree/a/b/nothing
head -c 100000 /dev/zero > tree/a/b/zeros
ln -s f1 tree/a/link; ln -s nowhere tree/a/dangling; ln -s "$PWD/tree/a" tree/absolute
ln tree/a/f2 tree/a/b/hard; mkfifo tree/a/fifo
echo odd > tree/'with space'/"$(printf 'new\nline')"
chmod 600 tree/a/f1; chmod 755 tree/a/f2; chmod 4711 tree/a/f3; chmod 2770 tree/empty; chmod 1777 tree/a/b
find tree -print0 | sort -zr | xargs -0 touch -h -d '2001-02-03 04:05:06.789'
"""

SHELL: Final = r"""
echo one > out; echo two >> out; cat < out > copy; cat out - < copy > both; wc -c both
umask; umask 077; : > private; mkdir secret; umask 002; : > shared; mkdir open; umask 022
mkdir -p a/b/c a/b/; mkdir a/b 2>&1 || echo "mkdir $?"; rmdir a/b/c/; mkdir a/new/; mkdir a/. 2>&1 || :
rmdir a 2>&1 || echo "rmdir $?"; rmdir a/b/. 2>&1 || :; rmdir a/new/.. 2>&1 || :
ln -s out link; ln -s a dirlink; ln -s missing dangling; ln -s loop loop
cat link; ls dirlink/ | cat; ls -d dirlink | cat; cat loop 2>&1 || :; cat dangling 2>&1 || :
echo through > dangling; cat missing; readlink link dangling loop; readlink -f dirlink/b
cat out/ 2>&1 || :; cat link/ 2>&1 || :; rm dirlink/ 2>&1 || :; mv a moved; cat dirlink/x 2>&1 || :
ln out hard; stat -c '%n %h %s %a %F' out hard link moved; chmod 640 out; chmod u+s,g+s hard; stat -c %a out
touch -d '2002-03-04 05:06:07.123456789' out; touch -r out copy; touch -h -d @86400 link; stat -c '%n %y' out copy link
mkfifo fifo; (echo through the fifo > fifo) & cat fifo; wait
cat fifo > from & cat out > fifo; wait; cat from
echo input | cat /dev/stdin; (echo output > /dev/stdout) 2>&1 || :; (echo error > /dev/stderr) || :; echo null > /dev/null
exec 5> five; echo five >&5; ls -l /proc/self/fd/5 | sed 's/.*-> .*work/WORK/'; echo more > /proc/self/fd/5; exec 5>&-
cat < five; exec 6< five; read line <&6; echo "$line"; cat /proc/self/fd/6 /dev/fd/6; exec 6<&-
cat /proc/self/comm; cat /proc/thread-self/comm; cat /proc/$$/comm; test -e /proc/self/exe && readlink /proc/self/exe
readlink /proc/self/cwd | sed 's/.*work/WORK/'; grep -c . /proc/self/status > /dev/null; test "$(readlink /proc/self)" != $$
tr '\0' ' ' < /proc/self/cmdline; ls /proc/self/task | wc -l; sed -n 's/^Umask:/umask/p' /proc/self/status
id -u; id -g; test -r private && echo readable; test -w /etc/passwd && echo writable; test -x out || echo not executable
truncate -s 10 short; truncate -s 3 both; dd if=/dev/zero of=sparse bs=1 seek=5000 count=1 2> /dev/null; fallocate -l 50 long || :
mv out moved/renamed; mv -n copy both; mv moved/renamed copy; mv short moved/; rm -f missing nothing; rm -r secret
cp -P link moved/; cp both moved/new; install -m 751 both installed; ln -sfn moved dirlink; ln -f both hard
mktemp -d tmp.XXXXXX | sed 's/\..*//'; rmdir tmp.*; cat /nonexistent 2>&1 || :; cat both/x 2>&1 || :; cat "" 2>&1 || :
cd moved; pwd | sed 's/.*work/WORK/'; cat ../both; cd ..; cd dirlink; cd ..; ls
echo done > /dev/tty 2>&1 || echo no terminal; sh -c 'echo $0' name; false || exit_status=$?; echo $exit_status
find . -newer dangling | wc -l > /dev/null; df . > /dev/null; ls -la > /dev/null; stat -f -c %T . > /dev/null; sync -f both
cat <<END
here
END
"""

GIT: Final = (
    _TREE
    + r"""
rm tree/a/fifo; cd tree; git init -q -b main .; git add .; git commit -qm first; echo changed >> a/f1
git mv a/f4 a/f9; git commit -qam second; git tag v1; git gc -q; cd ..
git config --global protocol.file.allow always; git config --global pack.threads 1
git clone -q tree near; git clone -q --no-local --bare tree bare.git; cd near; git status; git log --stat
git checkout -qb other HEAD~; echo other > other; git add other; git commit -qm other; git merge -q -m merged main
git push -q ../bare.git other; git stash list; git diff --stat v1; rm a/f5; git status --short; git checkout -q a/f5
git fsck --full; git ls-files -s; git worktree add -q ../extra v1; git -C ../extra status
rm -rf .git/logs/../hooks; cd ../bare.git; git log --oneline --all --graph
"""
)

TAR: Final = (
    _TREE
    + r"""
tar --sort=name -cf all.tar tree; mkdir out; tar -xpf all.tar -C out; tar -tvf all.tar | cut -c1-10
tar --sort=name -C tree -czf a.tgz a; mkdir other; tar -xzf a.tgz -C other --no-same-permissions
tar -xf all.tar -C out --overwrite tree/a/f1; tar -df all.tar; rm all.tar a.tgz
"""
)

CP: Final = (
    _TREE
    + r"""
cp -a tree same; cp -r tree plain; cp -aL tree/a/link followed; cp --sparse=always tree/a/b/zeros sparse
cp -al tree linked; cp -rs "$PWD/tree" symbolic; cp -u tree/a/f1 plain/a/f1; cp -b tree/a/f2 plain/a/f1
cp --parents tree/a/f3 empty 2>&1 || :; mkdir empty; cp --parents tree/a/f3 empty; cp tree empty 2>&1 || :
diff -r tree/a/b same/a/b; mv same renamed; rm -rf plain; chmod -R go-rwx renamed
"""
)

RSYNC: Final = (
    _TREE
    + r"""
rsync -aH tree/ same; rsync -rlpt --delete tree/a/ same/a; echo changed > tree/a/f1; rm tree/a/f4
rsync -aHi --delete --checksum tree/ same; rsync -a --backup --suffix=.old tree/ same
rsync -a --link-dest="$PWD/same" tree/ linked; rsync -an --stats tree/ same | head -3
"""
)

FIND: Final = (
    _TREE
    + r"""
find tree -printf '%p %y %m %s %l %n %T@\n' | sort; find -L tree -type f 2>&1 | sort; find tree -size +10k
find tree -perm -4000; find tree -samefile tree/a/f2 | sort; find tree -type d -empty; find tree -xtype l
find tree -name 'f[0-9]' -exec cat {} + ; find tree -newermt 2001-01-01 -delete; ls tree 2>&1 || :
find . -readable -writable | sort; find . -user "$(id -u)" -group "$(id -g)" | wc -l; find missing 2>&1 || :
"""
)

MAKE: Final = r"""
mkdir src; cat > Makefile <<'END'
CFLAGS = -O1 -Wall -Isrc
program: src/main.o src/one.o libtwo.a
	gcc -o $@ src/main.o src/one.o -L. -ltwo
libtwo.a: src/two.o
	ar rcsD $@ $<
src/%.o: src/%.c src/all.h
	gcc $(CFLAGS) -c -o $@ $<
check: program
	./program > result; cat result
END
echo 'int one(void), two(void);' > src/all.h
echo '#include "all.h"
int one(void) { return 1; }' > src/one.c
echo '#include "all.h"
int two(void) { return 2; }' > src/two.c
printf '%s\n' '#include <stdio.h>
#include "all.h"
int main(void) { printf("%d %d\n", one(), two()); return 0; }' > src/main.c
make check; make -q program; touch -d '2030-01-01' src/two.c; make -j2 check 2> /dev/null; rm src/*.o; ls src
"""

SQLITE: Final = r"""
sqlite3 data.db "create table t(id integer primary key, text); insert into t(text) values ('one'), ('two');"
sqlite3 data.db "begin; update t set text = text || 'x'; delete from t where id = 1; commit; select * from t;"
sqlite3 data.db "pragma journal_mode=wal; insert into t(text) values ('three'); select count(*) from t;"
sqlite3 data.db "pragma journal_mode=delete; create index i on t(text); vacuum; pragma integrity_check;"
sqlite3 data.db .dump > dump.sql; sqlite3 other.db < dump.sql; sqlite3 other.db "attach 'data.db' as d; select * from d.t;"
sqlite3 data.db ".backup copy.db"; sqlite3 missing/no.db "select 1 from t" 2>&1 || echo "status $?"
"""

BUSYBOX: Final = r"""
busybox sh -eu <<'END'
b=busybox
$b mkdir -p d/e; $b echo one > d/f; $b ln -s f d/link; $b ln d/f d/hard; $b cp -a d copy; $b mv copy moved
$b tar cf all.tar d; $b mkdir out; $b tar xf all.tar -C out; $b tar tf all.tar; $b rm all.tar
$b find . -type f | $b sort; $b ls -1 d; $b stat -c '%a %s %n' d/f; $b chmod 700 d/e; $b touch -d '2003-04-05 06:07:08' d/f
$b cat /proc/self/comm; $b readlink d/link; $b readlink -f moved/link | $b sed 's/.*work/WORK/'; $b id -u
$b gzip -c d/f | $b gunzip -c; $b sed -i s/one/two/ d/f; $b grep -r two d | $b sort; $b diff -r d moved || :
$b rm -r moved; $b rmdir d/e/; $b mkfifo p; ($b echo fifo > p) & $b cat p; wait; $b dd if=/dev/zero of=z bs=10 count=3 2> /dev/null
$b cp d/f d/g; $b chmod 640 d/g; $b truncate -s 5 z; $b cmp d/f d/g; $b mktemp -u XXXXXX > /dev/null; $b du -a d > /dev/null
$b test -w d/f && $b cat /dev/stdin < d/f; $b wc -c < z; $b awk 'BEGIN { print "awk" > "w" }'; $b cat w
END
"""

COMPILEALL: Final = r"""
mkdir -p pkg/sub; for n in 1 2 3; do echo "VALUE = $n" > pkg/m$n.py; done; echo 'import pkg.m1' > pkg/sub/__init__.py
: > pkg/__init__.py; echo 'def broken(:' > pkg/bad.py; touch -d '2010-01-01' pkg/*.py pkg/sub/*.py
unset PYTHONDONTWRITEBYTECODE
"$1" -I -S -m compileall pkg 2>&1 || echo "status $?"; "$1" -I -S -m compileall -q -f -j 2 -x bad pkg
"$1" -S -c 'import pkg.sub, pkg.m3; print(pkg.m3.__cached__[-20:], pkg.m1.VALUE)'
"$1" -I -S -m py_compile pkg/m2.py; "$1" -I -S -m zipfile -c pkg.zip pkg/m1.py; "$1" -I -S -m zipfile -l pkg.zip
"""

# The server writes its port where the client finds it.
CURL: Final = r"""
mkdir site; echo 'hello' > site/index.html; head -c 300000 /dev/zero > site/large
cat > server.py <<'END'
import functools, http.server, os, threading
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.end_headers(); self.wfile.write(body[::-1])
    def do_DELETE(self): os._exit(0)
    def date_time_string(self, timestamp=None): return "now"
handler = functools.partial(Handler, directory="site")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
with open("port", "w") as port: port.write(str(server.server_port))
threading.Timer(60, os._exit, [1]).start()
server.serve_forever()
END
mkfifo port; "$1" -I -S server.py & server=$!; number=$(cat port)
curl -sSf "http://127.0.0.1:$number/"; curl -sS -o large -D headers "http://127.0.0.1:$number/large"
curl -sS -d 'some data' "http://localhost:$number/"; curl -sS "http://127.0.0.1:$number/missing" -o /dev/null -w '%{http_code}\n'
curl -sS http://127.0.0.1:1/ 2>&1 | sed 's/after .* ms//' || :; curl -sS file://$PWD/site/index.html; rm port; curl -s -X DELETE "http://127.0.0.1:$number/" || wait $server
grep -c . headers > /dev/null; rm headers
"""

SOCKETS: Final = """
cat > sockets.py <<'END'
import array, errno, os, socket, struct, threading
def tried(function, *args):
    try: return function(*args)
    except OSError as error: return errno.errorcode[error.errno]
os.mkdir("d"); os.umask(0o77)
server = socket.socket(socket.AF_UNIX); server.bind("d/../sock"); print(server.getsockname(), oct(os.stat("sock").st_mode))
print(tried(socket.socket(socket.AF_UNIX).bind, "sock"), tried(socket.socket(socket.AF_UNIX).bind, "missing/x"), tried(socket.socket(socket.AF_UNIX).bind, "sock/"))
server.listen(); server.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
os.symlink("sock", "link"); client = socket.socket(socket.AF_UNIX); client.connect(os.path.abspath("link")); peer, name = server.accept()
print(repr(name), client.getpeername(), peer.getsockname())
ids = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)); print(ids[0] == os.getpid(), ids[1:])
read, write = os.pipe(); os.write(write, b"piped")
client.sendmsg([b"with", b"fd"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read]))])
data, control, flags, _ = peer.recvmsg(100, 100)
for level, kind, raw in sorted(control, key=lambda c: c[1]):
    if kind == socket.SCM_RIGHTS: print("fd", os.read(struct.unpack("i", raw)[0], 100))
    else: pid, *ids = struct.unpack("3i", raw); print("from", pid == os.getpid(), ids)
print(data, flags)
client.sendmsg([b"me"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", os.getpid(), os.getuid(), os.getgid()))])
print(peer.recvmsg(10, 100)[0]); client.sendall(bytes(3_000_000)) if not threading.Thread(target=lambda: [client.shutdown(socket.SHUT_WR)] and None) else None
got = []
def drain():
    while data := peer.recv(65536): got.append(len(data))
thread = threading.Thread(target=drain); thread.start(); client.sendall(bytes(3_000_000)); client.close(); thread.join(); print(sum(got))
peer.close(); print(tried(peer.send, b"x") if peer.fileno() >= 0 else "closed")
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); two = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
one.bind("one"); two.bind(b"\\0abstract-%d" % os.getpid()); two.sendto(b"by name", "one"); print(one.recvfrom(100)[0])
one.sendto(b"abstract", b"\\0abstract-%d" % os.getpid()); print(two.recvfrom(100)); print(tried(one.sendto, b"x", "missing"), tried(one.sendto, b"x", "link"))
ip = socket.socket(); ip.bind(("127.0.0.1", 0)); print(tried(socket.socket().connect, ip.getsockname())); ip.listen()
tcp = socket.create_connection(ip.getsockname()); accepted, address = ip.accept(); print(address == tcp.getsockname())
tcp.sendall(b"tcp"); print(accepted.recv(10)); accepted.close(); tcp.close()
quick = socket.socket(); quick.setblocking(False); print(quick.connect_ex(ip.getsockname()) in (0, errno.EINPROGRESS)); quick.close()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("127.0.0.1", 0)); udp.sendto(b"udp", udp.getsockname()); print(udp.recv(10))
print(tried(udp.sendto, bytes(70000), udp.getsockname()), tried(udp.bind, ("127.0.0.1", 1)), tried(socket.socket(socket.AF_UNIX).connect, "d"))
left, right = socket.socketpair(); right.close(); print(tried(left.send, b"x")); print(os.listdir("."), os.path.exists("sock"))
END
ip link set lo up 2> /dev/null || :; "$1" -I -S sockets.py
"""

PIP: Final = r"""
"$1" -m venv --without-pip env 2>&1; pip=$("$1" -c 'import ensurepip, glob, os; print((glob.glob(os.path.join(os.path.dirname(ensurepip.__file__), "_bundled", "pip-*.whl")) or glob.glob("/usr/share/python-wheels/pip-*.whl"))[0])')
env/bin/python "$pip"/pip install --no-index --no-compile --no-cache-dir --disable-pip-version-check -q ./small-1.0-py3-none-any.whl 2>&1
env/bin/small; env/bin/python "$pip"/pip list --disable-pip-version-check 2>&1; env/bin/python "$pip"/pip uninstall -qy small 2>&1; ls env/bin
"""
