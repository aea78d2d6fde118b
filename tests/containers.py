"""A Dockerfile read, and performed without an engine: Linux namespaces stand for the container.

What stands for what: this machine's /usr and a Python of the Dockerfile's version for the base image; a folder with
the files of each stage for its layers; and for ``docker run --read-only --tmpfs /tmp --network none``: a chroot whose
root is mounted read-only, a tmpfs on /tmp, a folder for the volume, no network, shared memory of its own, and a
namespace of process ids in which the command is process 1. RUN, COPY, ENV, WORKDIR, USER, ENTRYPOINT and CMD do what
the Dockerfile's reference says; an instruction that is not known here is an error. It needs root (to mount) and, while
it builds, the package index.
"""

import fnmatch
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

ACCOUNTS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
GROUPS = "root:x:0:\nnogroup:x:65534:\n"
BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: its name in capitals, and the rest on one line."""

    name: str
    rest: str


@dataclass(frozen=True)
class Image:
    """What a stage has become so far. ``user``: numeric ``uid:gid``; ``root``: the folder that holds its files."""

    root: Path
    python: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": BASE_PATH})
    workdir: str = "/"
    user: str = "0:0"
    volume: str | None = None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()


def instructions(dockerfile: Path) -> list[Instruction]:
    """The instructions in order, comments dropped and continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines()]


def missing_for_building() -> str | None:
    """Why a Dockerfile cannot be performed on this machine; None if it can."""
    if sys.platform != "linux":
        return "namespaces are Linux's"
    if os.geteuid() != 0:
        return "mounting a root file system needs root"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--ipc", "--net", "--fork", "true"], capture_output=True, check=False
    )
    return None if tried.returncode == 0 else f"no namespaces here: {tried.stderr.decode().strip()}"


def python_for(version: str) -> Path:
    """The prefix of an installed Python of that minor version (3.13); of the one that runs this, if there is none."""
    named = shutil.which(f"python{version}")
    found = [named] if named else []
    found += [str(path) for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))]
    asked = "import sys; print(sys.base_prefix)"
    for python in found:  # the first may be a shim that refuses
        answer = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return Path(answer.stdout.strip())
    return Path(sys.base_prefix)


def build(dockerfile: Path, into: Path, python: Path) -> Image:
    """Perform the Dockerfile, its folder as build context; answers the last stage."""
    stages: dict[str, Image] = {}
    image: Image | None = None
    for instruction in instructions(dockerfile):
        if instruction.name == "FROM":
            name = instruction.rest.partition(" AS ")[2] or str(len(stages))
            image = stages[name] = Image(_skeleton(into / name, python), python)
        elif image is not None:
            image = _performed(instruction, image, stages, dockerfile.parent)
            stages[list(stages)[-1]] = image
    assert image is not None, "a Dockerfile without FROM"
    return image


def run(image: Image, command: Sequence[str], volume: Path) -> subprocess.CompletedProcess[str]:
    """``docker run --rm`` with the command instead of ENTRYPOINT and CMD, until it ends."""
    return subprocess.run(_contained(image, command, volume), capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def started(image: Image, command: Sequence[str], volume: Path) -> Iterator["Container"]:
    """``docker run --detach``; killed at the end, if it still runs."""
    process = subprocess.Popen(
        _contained(image, command, volume),
        stdin=subprocess.PIPE,  # open, and nothing comes
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Container(image, process)
    finally:
        process.kill()  # unshare takes its child, and so the whole namespace, with it
        process.communicate()


@dataclass(frozen=True)
class Container:
    """One that runs."""

    image: Image
    process: subprocess.Popen[str]

    def log_until(self, text: str, seconds: float = 120) -> list[str]:
        """``docker logs --follow`` up to the first line with the text; an error if none comes in so many seconds."""
        assert self.process.stdout is not None
        lines = []
        given_up = threading.Timer(seconds, self.process.kill)
        given_up.start()
        try:
            for line in self.process.stdout:
                lines.append(line)
                if text in line:
                    return lines
        finally:
            given_up.cancel()
        raise AssertionError(f"no line with {text!r} in:\n{''.join(lines)}")

    def execute(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """``docker exec``."""
        inside = [
            "nsenter",
            f"--target={self._first_process()}",
            "--mount",
            "--pid",
            "--ipc",
            "--net",
            "--root",
            "--wd=/",
        ]
        return subprocess.run(
            [*inside, *_as_user(self.image, command, root="/")], capture_output=True, text=True, check=False, timeout=60
        )

    def stop(self, seconds: float) -> int:
        """``docker stop``: SIGTERM to process 1; its exit code. ``TimeoutExpired`` after so many seconds."""
        os.kill(self._first_process(), signal.SIGTERM)
        return self.process.wait(seconds)

    def _first_process(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])


def new_volume(image: Image, at: Path) -> Path:
    """A new named volume: the engine gives it the owner of the image's folder."""
    assert image.volume is not None
    folder = image.root / image.volume.lstrip("/")
    at.mkdir()
    os.chown(at, folder.stat().st_uid, folder.stat().st_gid)
    return at


def context_files(context: Path, below: Path | None = None) -> list[Path]:
    """What ``.dockerignore`` lets into the build: the last pattern that matches a file, or a folder of it, decides.

    ``below``: of this file or folder alone, since a checkout may hold an environment of ten thousand files beside it.
    """
    start = below or context
    patterns = [
        line.strip() for line in (context / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    return [
        path
        for path in ([start] if start.is_file() else sorted(start.rglob("*")))
        if path.is_file() and not _ignored(PurePosixPath(path.relative_to(context)), [p for p in patterns if p])
    ]


def _ignored(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    ignored = False
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        names = [str(part) for part in (path, *path.parents)]
        if bare.startswith("**/"):
            hit = any(fnmatch.fnmatchcase(part, bare.removeprefix("**/")) for part in path.parts)
        else:
            hit = any(fnmatch.fnmatchcase(name, bare) for name in names)
        if hit:
            ignored = not pattern.startswith("!")
    return ignored


def _performed(instruction: Instruction, image: Image, stages: dict[str, Image], context: Path) -> Image:
    """The image after one instruction."""
    rest = instruction.rest
    match instruction.name:
        case "ARG":
            raise NotImplementedError("ARG inside a stage")
        case "ENV":
            pairs = dict(re.findall(r"(\w+)=(\S+)", rest))
            expanded = {
                name: re.sub(r"\$(\w+)", lambda found: image.environment.get(found[1], ""), value)
                for name, value in pairs.items()
            }
            return replace(image, environment={**image.environment, **expanded})
        case "WORKDIR":
            (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            return replace(image, workdir=rest)
        case "USER":
            return replace(image, user=rest)
        case "VOLUME":
            return replace(image, volume=rest)
        case "ENTRYPOINT":
            return replace(image, entrypoint=tuple(json.loads(rest)))
        case "CMD":
            return replace(image, command=tuple(json.loads(rest)))
        case "HEALTHCHECK":
            return replace(image, health=tuple(json.loads(rest.partition("CMD ")[2])))
        case "COPY":
            _copy(rest, image, stages, context)
            return image
        case "RUN":
            done = subprocess.run(_building(image, rest), capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"RUN {rest}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            return image
        case name:
            raise NotImplementedError(name)


def _copy(rest: str, image: Image, stages: dict[str, Image], context: Path) -> None:
    """COPY from the context or a stage: a folder's content into the folder named, files into it or as it."""
    options = dict(re.findall(r"--(\w+)=(\S+)", rest))
    *sources, target = (word for word in rest.split() if not word.startswith("--"))
    origin = stages[options["from"]].root if "from" in options else context
    goal = image.root / (PurePosixPath(image.workdir) / target).as_posix().lstrip("/")
    for source in sources:
        start = origin / source.lstrip("/")
        if start.is_dir() and "from" in options:
            shutil.copytree(start, goal, symlinks=True, dirs_exist_ok=True, copy_function=os.link)  # as a layer: shared
            continue
        files = [start] if "from" in options else context_files(context, start)
        assert files, f"COPY {source}: nothing of that name is in the build context"
        for path in files:
            into = goal / path.relative_to(start) if start.is_dir() else goal / path.name if target[-1] == "/" else goal
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, into)


def _skeleton(root: Path, python: Path) -> Path:
    """The base image's folders, empty where this machine's are mounted."""
    for name in ("dev", "etc/ssl", "opt", "proc", "root", "tmp", "usr", "var/tmp", str(python).lstrip("/")):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/passwd").write_text(ACCOUNTS)
    (root / "etc/group").write_text(GROUPS)
    for name in ("hosts", "resolv.conf", "nsswitch.conf", "ld.so.cache", "login.defs"):
        if (known := Path("/etc") / name).exists():
            shutil.copy(known, root / "etc" / name)
    return root


def _building(image: Image, command: str) -> list[str]:
    """The command line of one RUN: the stage's files may be written, the network is there."""
    passed = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
    environment = {**passed, **image.environment}
    as_root = replace(image, environment=environment)
    return [*_namespace(), "sh", "-euc", _mounts(image), "sh", *_as_user(as_root, ["/bin/sh", "-c", command])]


def _contained(image: Image, command: Sequence[str], volume: Path) -> list[str]:
    """The command line of one ``docker run``."""
    assert image.volume is not None
    root = image.root
    mounts = f"""
mount --bind {root} {root}
mount -o remount,bind,ro {root}
{_mounts(image, exec_after=False)}
mount -t tmpfs tmpfs {root}/dev/shm
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
mount --bind {volume} {root}{image.volume}
exec "$@"
"""
    return [*_namespace("--net"), "sh", "-euc", mounts, "sh", *_as_user(image, command)]


def _namespace(*more: str) -> list[str]:
    return ["unshare", "--mount", "--propagation=private", "--pid", "--ipc", "--fork", "--kill-child", *more]


def _mounts(image: Image, *, exec_after: bool = True) -> str:
    """This machine's system under the image's root, read-only; its Python where the base image has one."""
    root, python = image.root, image.python
    binds = [("/usr", "/usr"), ("/etc/ssl", "/etc/ssl"), (str(python), "/usr/local"), (str(python), str(python))]
    lines = [f"mount --bind {source} {root}{target}" for source, target in binds]
    lines += [f"mount -o remount,bind,ro {root}{target}" for _, target in binds]
    lines += [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
    return "\n".join([*lines, 'exec "$@"'] if exec_after else lines)


def _as_user(image: Image, command: Sequence[str], root: str | None = None) -> list[str]:
    """The command in the image's root, folder, environment and user, and nothing of this machine's environment."""
    accounts = [line.split(":") for line in (image.root / "etc/passwd").read_text().splitlines()]
    home = next(account[5] for account in accounts if account[2:4] == image.user.split(":"))
    environment = [f"{name}={value}" for name, value in {"HOME": home, **image.environment}.items()]
    entered = ["chroot", f"--userspec={image.user}", "--groups=", root or str(image.root)]
    inside = ["/usr/bin/env", "-i", f"--chdir={image.workdir}", *environment, *command]
    return [*entered, *inside]
