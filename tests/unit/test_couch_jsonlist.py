"""Lists decoded as they come: every layout, every place where they may be cut."""

from __future__ import annotations

import io
import json

import msgspec
import pytest

from runbook.couch.reading import jsonlist

IDS = ["a", 'q"}},{"id":"', "},{", "],\n", "a\u2028b", "é漢😀", "z" * 50]


class Listed(msgspec.Struct):
    id: str
    value: dict[str, str]


class Change(msgspec.Struct):
    id: str
    changes: list[dict[str, str]]


held = msgspec.json.Decoder(list[Listed])


def rows(ids: list[str]) -> list[str]:
    found = [{"id": id, "key": id, "value": {"rev": "1-a"}} for id in ids]
    return [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in found]


def couchdb(ids: list[str]) -> bytes:
    head = f'{{"total_rows":{len(ids)},"offset":0,"rows":[\r\n'
    return (head + ",\r\n".join(rows(ids)) + "\r\n]}\n").encode()


def one_line(ids: list[str]) -> bytes:
    return f'{{"total_rows":{len(ids)},"offset":0,"rows":[{",".join(rows(ids))}]}}'.encode()


def changes(ids: list[str]) -> bytes:
    found = [{"seq": f"{n}-g", "id": id, "changes": [{"rev": "1-a"}]} for n, id in enumerate(ids)]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in found)
    return f'{{"results":[\n{lines}\n],\n"last_seq":"5-g]","pending":0}}\n'.encode()


LAYOUTS = [(couchdb, held), (one_line, held), (changes, msgspec.json.Decoder(list[Change]))]


def read(data: bytes, decoder: msgspec.json.Decoder) -> list[str]:  # type: ignore[type-arg]
    body = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]
    return [row.id for batch in jsonlist.batches(body, decoder) for row in batch]


@pytest.mark.parametrize(("write", "decoder"), LAYOUTS)
@pytest.mark.parametrize("piece", [10, 64, 100, 1 << 20])
def test_every_piece_size(write, decoder, piece, monkeypatch):
    monkeypatch.setattr(jsonlist, "PIECE", max(piece, 60))
    assert read(write(IDS), decoder) == IDS
    assert read(write([]), decoder) == []


@pytest.mark.parametrize(("write", "decoder"), LAYOUTS)
@pytest.mark.parametrize("piece", [80, 1 << 20])
def test_cut_anywhere_it_is_broken(write, decoder, piece, monkeypatch):
    monkeypatch.setattr(jsonlist, "PIECE", piece)
    whole = write(IDS).rstrip()
    for end in range(len(whole)):
        with pytest.raises(jsonlist.Broken):
            read(whole[:end], decoder)


def test_what_the_server_said_last_is_told():
    data = couchdb(IDS)[:-5] + b'\n{"error":"timeout","reason":"The request could not be processed"}\n'
    with pytest.raises(jsonlist.Broken, match="could not be processed"):
        read(data, held)


def test_a_row_without_end_is_not_collected_for_ever(monkeypatch):
    monkeypatch.setattr(jsonlist, "_MAX_ROW", 5000)
    with pytest.raises(jsonlist.Broken, match="no end"):
        read(b'{"rows":[{"id":"' + b"x" * (3 << 20), held)
