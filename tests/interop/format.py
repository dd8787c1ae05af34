"""Reads and writes bundles as docs/format.md describes them: what that document says, and nothing of bndlr's sources.

    format.py DIRECTORY LAYOUT [OPTIONS]

makes from DIRECTORY all that the document determines, which is everything but the deflate streams, and holds against
it, byte for byte, the image in the OCI image layout LAYOUT. The streams are inflated and compared. OPTIONS is
a JSON document with what was asked for: labels, annotations, created, architecture, os, variant. Prints another one
with what was found to be right; where something is not, the exit code is 1, and the reason is on stderr.
"""

import hashlib
import json
import os
import stat
import sys
import zlib
from typing import NamedTuple

MIB = 1024 * 1024
END_OF_ARCHIVE = bytes(1024)
MEMBER_HEADER = bytes.fromhex("1f8b08000000000000ff")
SECTION_HEADER = bytes.fromhex("1f8b08040000000000ff")
PIECE = 8188
DIRECTORY, FILE, EXECUTABLE, LINK = range(4)
MODES = {DIRECTORY: 0o755, FILE: 0o644, EXECUTABLE: 0o755, LINK: 0o777}
TYPES = {DIRECTORY: b"5", FILE: b"0", EXECUTABLE: b"0", LINK: b"2"}

OCI = {
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}
SCHEMA_2 = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# Entries


class Entry(NamedTuple):
    path: bytes
    kind: int
    contents: bytes = b""
    target: bytes = b""


def entries_of(directory, above=b""):
    """Everything in a directory, siblings in the order of their bytes, each directory before what is in it."""
    for name in sorted(os.listdir(directory)):
        file, path = os.path.join(directory, name), above + name
        status = os.lstat(file)
        if stat.S_ISLNK(status.st_mode):
            yield Entry(path, LINK, target=os.readlink(file))
        elif stat.S_ISDIR(status.st_mode):
            yield Entry(path, DIRECTORY)
            yield from entries_of(file, path + b"/")
        else:
            with open(file, "rb") as opened:
                yield Entry(path, EXECUTABLE if status.st_mode & 0o100 else FILE, opened.read())


# The tar archive


def padded(data):
    return data + bytes(-len(data) % 512)


def octal(number, digits):
    return b"%0*o\0" % (digits, number)


def header(name, mode, size, kind, link=b"", prefix=b""):
    fields = [name.ljust(100, b"\0"), octal(mode, 7), octal(0, 7), octal(0, 7), octal(size, 11), octal(0, 11)]
    after = [kind, link.ljust(100, b"\0"), b"ustar\x0000", bytes(64), octal(0, 7), octal(0, 7), prefix.ljust(155, b"\0")]
    before, after = b"".join(fields), b"".join(after) + bytes(12)
    return before + octal(sum(before + b" " * 8 + after), 7) + after


def record(key, value):
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(b"%d" % length):
        length = len(rest) + len(b"%d" % length)
    return b"%d" % length + rest


def cut(text):
    """The first 100 bytes, as far as they are ASCII."""
    return bytes(byte if byte < 128 else ord("_") for byte in text[:100])


def split(name):
    """The fields `name` and `prefix`, or nothing where a PAX header has to say the name."""
    if not name.isascii():
        return None
    if len(name) <= 100:
        return name, b""
    slash = name.rfind(b"/", 1, min(156, len(name) - 1))
    if slash < 1 or len(name) - slash - 1 > 100:
        return None
    return name[slash + 1 :], name[:slash]


def tar_of(entry):
    """The tar bytes of an entry: PAX header, header, contents, padding."""
    name = entry.path + b"/" if entry.kind == DIRECTORY else entry.path
    fields, size, pax = split(name), len(entry.contents), b""
    if not entry.target.isascii() or len(entry.target) > 100:
        pax += record(b"linkpath", entry.target)
    if fields is None:
        pax += record(b"path", name)
    if size > 0o77777777777:
        pax += record(b"size", b"%d" % size)
        size = 0
    name, prefix = fields or (cut(name), b"")
    tar = header(name, MODES[entry.kind], size, TYPES[entry.kind], cut(entry.target), prefix) + padded(entry.contents)
    return header(b"././@PaxHeader", 0o644, len(pax), b"x") + padded(pax) + tar if pax else tar


# Members


class Member(NamedTuple):
    first: bytes  # the path of the entry with whose bytes it begins
    tar: bytes


def closes(path, size):
    number = int.from_bytes(hashlib.sha256(path).digest()[:4], "little")
    return number * 131072 < size << 32


def members_of(entries):
    """The members, and for each entry the number of the one in which it begins."""
    members, places, is_open = [], [], False
    for entry in entries:
        tar = tar_of(entry)
        if len(tar) > MIB:
            places.append(len(members))
            members += [Member(entry.path, tar[at : at + MIB]) for at in range(0, len(tar), MIB)]
            is_open = False
            continue
        if not is_open or len(members[-1].tar) + len(tar) > MIB:
            members.append(Member(entry.path, b""))
        members[-1] = Member(members[-1].first, members[-1].tar + tar)
        places.append(len(members) - 1)
        is_open = not (len(members[-1].tar) >= 131072 and closes(entry.path, len(tar)))
    if not members:
        members.append(Member(b"", b""))
    members[-1] = Member(members[-1].first, members[-1].tar + END_OF_ARCHIVE)
    return members, places


# The index


def number(value):
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def path_after(path, before):
    common = len(os.path.commonprefix([path, before]))
    return number(common) + number(len(path) - common) + path[common:]


def entry_list(entries, places):
    body, path, place = number(len(entries)), b"", 0
    for entry, at in zip(entries, places):
        body += path_after(entry.path, path) + bytes([entry.kind]) + number(at - place)
        if entry.kind in (FILE, EXECUTABLE):
            body += number(len(entry.contents))
        if entry.kind == LINK:
            body += number(len(entry.target)) + entry.target
        path, place = entry.path, at
    return body


def member_table(members, sizes):
    body, path = number(len(members)), b""
    for member, size in zip(members, sizes):
        body += path_after(member.first, path) + number(size) + number(len(member.tar))
        path = member.first
    return body + b"".join(hashlib.sha256(member.tar).digest() for member in members)


# Checking a layer


def require(found, expected, what):
    if found != expected:
        raise SystemExit(f"format.py: {what}: expected {expected!r:.200}, found {found!r:.200}")


def inflate(data, what):
    """What a deflate stream at the front of `data` becomes, and the rest."""
    stream = zlib.decompressobj(-15)
    inflated = stream.decompress(data) + stream.flush()
    require(stream.eof, True, f"{what} has an end")
    return inflated, stream.unused_data


def check_member(layer, member, what):
    """Checks the member at the front of `layer`, and returns its size."""
    require(layer[:10], MEMBER_HEADER, f"the header of {what}")
    tar, rest = inflate(layer[10:], what)
    require(tar, member.tar, f"the tar bytes of {what}")
    trailer = zlib.crc32(tar).to_bytes(4, "little") + len(tar).to_bytes(4, "little")
    require(rest[:8], trailer, f"the trailer of {what}")
    return len(layer) - len(rest) + 8


def check_section(carried, letter, body):
    """Checks the members that carry a section, byte for byte but for the deflate stream."""
    section, pieces, at = b"", [], 0
    while at < len(carried):
        length = int.from_bytes(carried[at + 14 : at + 16], "little")
        pieces.append(carried[at + 16 : at + 16 + length])
        section += pieces[-1]
        at += 16 + length + 10
    framed = b"".join(
        SECTION_HEADER + (len(piece) + 4).to_bytes(2, "little") + b"BN" + len(piece).to_bytes(2, "little") + piece
        + b"\x03\0" + bytes(8)
        for piece in (section[at : at + PIECE] for at in range(0, len(section), PIECE))
    )
    require(carried, framed, f"the members of section {letter!r}")
    start = letter + number(len(body))
    require(section[: len(start)], start, f"the start of section {letter!r}")
    require(inflate(section[len(start) :], f"section {letter!r}"), (body, b""), f"the body of section {letter!r}")


def check_layer(layer, entries, table):
    """Checks a layer, whose member table begins at offset `table`, against the entries. Returns the diff ID, what the
    annotations have to say of the index, and the number of members."""
    members, places = members_of(entries)
    sizes, at = [], 0
    for which, member in enumerate(members):
        sizes.append(check_member(layer[at : at + 2 * MIB], member, f"member {which}"))
        at += sizes[-1]
    check_section(layer[at:table], b"E", entry_list(entries, places))
    check_section(layer[table:], b"M", member_table(members, sizes))
    annotations = {
        "dev.bndlr.format": "1",
        "dev.bndlr.index.entries": f"{at}+{table - at}@{digest(layer[at:table])}",
        "dev.bndlr.index.members": f"{table}+{len(layer) - table}@{digest(layer[table:])}",
    }
    return digest(b"".join(member.tar for member in members)), annotations, len(members)


# Checking an image


def descriptor(media_type, data):
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def config_of(diff_id, labels, options):
    config = {
        "architecture": options.get("architecture", "amd64"),
        "os": options.get("os", "linux"),
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "bndlr"}],
    }
    config |= {key: options[key] for key in ("variant", "created") if key in options}
    if labels:
        config["config"] = {"Labels": labels}
    return canonical(config)


def manifest_of(types, config, layer, on_layer, options):
    described = descriptor(types["layer"], layer)
    if on_layer:
        described["annotations"] = on_layer
    manifest = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": descriptor(types["config"], config),
        "layers": [described],
    }
    if options.get("annotations"):
        manifest["annotations"] = options["annotations"]
    return canonical(manifest)


def check_image(directory, blob, found, options):
    """Checks the image that a layout's index describes as `found`, with `blob` to read from the layout."""
    types = {types["manifest"]: types for types in (OCI, SCHEMA_2)}[found["mediaType"]]
    manifest = blob(found["digest"])
    image = json.loads(manifest)
    layer, config = blob(image["layers"][0]["digest"]), blob(image["config"]["digest"])
    said = image["layers"][0].get("annotations") or json.loads(config)["config"]["Labels"]
    table = next(value for key, value in said.items() if key.startswith("dev.bndlr.index.members"))

    entries = list(entries_of(os.fsencode(directory)))
    diff_id, index, members = check_layer(layer, entries, int(table.split("+")[0]))
    labels, on_layer = dict(options.get("labels", {})), {}
    if types is SCHEMA_2:
        labels |= {f"{key}.0": value for key, value in index.items()}
    else:
        oras = {"unpack": "true", "digest": diff_id}
        on_layer = index | {f"io.deis.oras.content.{key}": value for key, value in oras.items()}
        on_layer["org.opencontainers.image.title"] = "."
    require(config, config_of(diff_id, labels, options), "the configuration")
    require(manifest, manifest_of(types, config, layer, on_layer, options), "the manifest")
    return {"diff ID": diff_id, "manifest": digest(manifest), "entries": len(entries), "members": members}


def main(directory, layout, options="{}"):
    def blob(name):
        with open(os.path.join(layout, "blobs", *name.split(":")), "rb") as file:
            data = file.read()
        require(digest(data), name, "a digest")
        return data

    with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
        (found,) = json.load(file)["manifests"]
    print(json.dumps(check_image(directory, blob, found, json.loads(options))))


if __name__ == "__main__":
    main(*sys.argv[1:])
