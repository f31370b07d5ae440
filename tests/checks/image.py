"""Checks or prints parts of an image archive, as written by `docker save`.

image.py ARCHIVE            checks the image's configuration, size and list of dependencies; prints the size
image.py ARCHIVE --layers   prints the digest of every uncompressed layer, one per line
image.py ARCHIVE --command  prints the entry point, then the environment as NAME=VALUE, one per line
"""

import gzip
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zlib

LIMIT = 10_000_000
PROGRAM = "usr/local/bin/urlshort"


class Archive:
    def __init__(self, path):
        self.tar = tarfile.open(path)
        (self.manifest,) = json.load(self.tar.extractfile("manifest.json"))
        self.image = json.load(self.tar.extractfile(self.manifest["Config"]))
        self.config = self.image["config"]

    def layers(self):
        """Yields each layer's bytes, uncompressed."""
        for name in self.manifest["Layers"]:
            data = self.tar.extractfile(name).read()
            yield gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data

    def compressed_bytes(self):
        """Returns the compressed size, which a registry stores and a host pulls."""
        return sum(len(gzip.compress(layer, 6)) for layer in self.layers())

    def members(self):
        """Returns each path's entry and layer in the final image. Upper layers can replace or delete lower paths."""
        found = {}
        for layer in self.layers():
            tar = tarfile.open(fileobj=io.BytesIO(layer))
            for member in tar:
                path = member.name.removeprefix("./").rstrip("/")
                if ".wh." in path:
                    found.pop(path.replace(".wh.", ""), None)
                else:
                    found[path] = (member, tar)
        return found


def dependencies(program):
    """Returns the names of the dependencies that cargo-auditable embedded in the program."""
    with tempfile.NamedTemporaryFile() as executable, tempfile.NamedTemporaryFile() as section:
        executable.write(program)
        executable.flush()
        command = ["objcopy", "--dump-section", f".dep-v0={section.name}", executable.name, "/dev/null"]
        subprocess.run(command, check=True)
        return {package["name"] for package in json.loads(zlib.decompress(section.read()))["packages"]}


def check(archive):
    config, members = archive.config, archive.members()
    assert config["User"] == "65532:65532", config["User"]
    assert list(config["Volumes"]) == ["/data"], config["Volumes"]
    assert config["StopSignal"] == "SIGTERM", config["StopSignal"]
    assert config["Entrypoint"] == [f"/{PROGRAM}"], config["Entrypoint"]
    assert config["Healthcheck"]["Test"] == ["CMD", f"/{PROGRAM}", "healthcheck"], config["Healthcheck"]
    assert "STORE_URL=sqlite:/data/urlshort.db" in config["Env"], config["Env"]
    for label in ("title", "description", "source", "licenses", "revision"):
        assert config["Labels"][f"org.opencontainers.image.{label}"], label
    secrets = [name for name in config["Env"] if any(word in name for word in ("TOKEN", "PASSWORD", "SECRET"))]
    assert not secrets, secrets

    data = members["data"][0]
    assert (data.uid, data.gid, data.isdir()) == (65532, 65532, True), "/data does not belong to the service"
    program, tar = members[PROGRAM]
    assert (program.uid, program.mode & 0o022) == (0, 0), "the service could replace its own program"
    assert {"urlshort", "axum", "sqlx"} <= dependencies(tar.extractfile(program).read())
    bundle, tar = members["etc/ssl/certs/rds-ca-bundle.pem"]
    assert tar.extractfile(bundle).read().startswith(b"# Amazon RDS")

    size = archive.compressed_bytes()
    assert size < LIMIT, f"{size} bytes compressed, more than {LIMIT}"
    print(f"{size / 1e6:.1f} MB compressed")


if __name__ == "__main__":
    archive = Archive(sys.argv[1])
    if sys.argv[2:] == ["--layers"]:
        print(*archive.image["rootfs"]["diff_ids"], sep="\n")
    elif sys.argv[2:] == ["--command"]:
        print(*archive.config["Entrypoint"], *archive.config["Env"], sep="\n")
    else:
        check(archive)
