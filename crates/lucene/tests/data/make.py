#!/usr/bin/env python3
"""Have a running Elasticsearch or OpenSearch server write the Lucene indices that the tests read.

  make.py URL DATA_DIR OUT_DIR [CASE]...

URL is a node without security on this machine, DATA_DIR its path.data, OUT_DIR where the cases go, named for the version
(for example tests/data/lucene-9.12-opensearch-2.19.5). What is expected of a case is the same for all versions, and
goes beside OUT_DIR. See README.md for the cases. Standard library only.
"""
import glob, json, os, shutil, struct, sys, urllib.error, urllib.request, zlib

URL, DATA, OUT = sys.argv[1:4]
WANTED = (".si", ".fnm", ".fdt", ".fdx", ".fdm", ".liv", ".cfs", ".cfe", ".dvd", ".dvm")


def request(method, path, body=None, kind="application/json"):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    q = urllib.request.Request(URL + path, data=data, method=method, headers={"Content-Type": kind} if data else {})
    with urllib.request.urlopen(q, timeout=60) as r:
        return json.load(r)


STORED = {"i": "integer", "l": "long", "f": "float", "d": "double"}


def create(index, settings):
    properties = {k: {"type": t, "store": True, "index": False, "doc_values": False} for k, t in STORED.items()}
    properties["w"] = {"type": "text", "analyzer": "keyword"}
    properties["s"] = {"type": "keyword", "store": True, "index": False, "doc_values": False}
    settings = dict({"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}, **settings)
    request("PUT", "/" + index, {"settings": {"index": settings},
                                 "mappings": {"dynamic": False, "properties": properties}})


def document(n, text):
    """Values of every magnitude, so that every length of the packed numbers is met."""
    source = {"t": text}
    if n % 3 == 0:
        source.update(i=(-1) ** n * (7 ** (n % 11)) % 2 ** 31, l=[3600000 * n, -1000 * n, 86400000 * n, 9 ** (n % 19)][n % 4],
                      f=[n % 120, -1.5 * n, 0.1, 1e30][n % 4], d=[n % 100, n / 3, -2.5, 1e-300][n % 4], s="s%d" % n)
    return json.dumps(source, separators=(",", ":"))


def bulk(index, live, actions, refused=0):
    lines = []
    for verb, key, source in actions:
        lines.append(json.dumps({verb: {"_index": index, "_id": key}}))
        if verb == "delete":
            live.pop(key)
        else:
            lines.append(source)
            live[key] = source
    r = request("POST", "/_bulk", ("\n".join(lines) + "\n").encode(), "application/x-ndjson")
    failed = [i["index"]["_id"] for i in r["items"] if "error" in list(i.values())[0]]
    assert len(failed) == refused, (failed, r["items"][:3])
    for key in failed:
        live.pop(key)


def flush(index):
    request("POST", "/%s/_refresh" % index)
    request("POST", "/%s/_flush?force=true&wait_if_ongoing=true" % index)


def number(source, key, kind):
    v = json.loads(source)[key]
    return str(v) if kind is None else struct.pack(">" + kind, v).hex()


def keep(index, live):
    request("POST", "/%s/_refresh" % index)
    assert request("GET", "/%s/_count" % index)["count"] == len(live)
    uuid = request("GET", "/%s/_settings" % index)[index]["settings"]["index"]["uuid"]
    (source,) = glob.glob("%s/**/%s/0/index" % (DATA, uuid), recursive=True)
    out = os.path.join(OUT, index)
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    for f in os.listdir(source):
        if f.startswith("segments_") or f.endswith(WANTED):
            shutil.copyfile(os.path.join(source, f), os.path.join(out, f))
    with open(os.path.join(OUT, "..", index + ".tsv"), "w") as f:
        for key in sorted(live):
            s = live[key]
            # The servers store an id that is neither a number nor base64 as 0xff and its text.
            row = ["ff" + key.encode().hex(), "%08x" % zlib.crc32(s.encode())]
            if '"i":' in s:
                row += [number(s, "i", None), number(s, "l", None), number(s, "f", "f"), number(s, "d", "d")]
            f.write("\t".join(row) + "\n")
    print(out, len(live), "live", sum(os.path.getsize(out + "/" + f) for f in os.listdir(out)), "bytes")


def ids(a, b):
    return ["id %d" % n for n in range(a, b)]


def lz4():
    """A merged segment of separate files: several blocks, one sliced, soft deletes in a doc-values generation. And small
    compound ones."""
    index, live = "lz4", {}
    create(index, {"compound_format": False})
    bulk(index, live, [("index", k, document(n, "a%d" % n)) for n, k in enumerate(ids(0, 1050))])
    flush(index)
    bulk(index, live, [("index", k, document(n, "late " * (n % 50))) for n, k in enumerate(ids(1050, 1100))])
    bulk(index, live, [("index", "large", document(1, "sliced block " * 40000)), ("index", "after", document(3, "x"))])
    flush(index)
    request("POST", "/%s/_forcemerge?max_num_segments=1&flush=true" % index)
    bulk(index, live, [("index", k, document(n, "b%d" % n)) for n, k in enumerate(ids(100, 160))])
    flush(index)
    bulk(index, live, [("delete", k, None) for k in ids(0, 1050)[::9]])
    flush(index)
    keep(index, live)


def deflate():
    """Compound segments: soft deletes at flush (inside) and later (a generation outside)."""
    index, live = "deflate", {}
    for codec in ("legacy_best_compression", "best_compression"):
        try:
            create(index, {"codec": codec})
            break
        except urllib.error.HTTPError as e:
            print(codec, e.code)
    bulk(index, live, [("index", k, document(n, "a%d" % n)) for n, k in enumerate(ids(0, 200))])
    bulk(index, live, [("index", k, document(n, "again%d" % n)) for n, k in enumerate(ids(0, 20))])
    flush(index)
    bulk(index, live, [("index", "large", document(1, "sliced block " * 120000)), ("index", "after", document(3, "x"))])
    bulk(index, live, [("delete", k, None) for k in ids(40, 50)])
    flush(index)
    bulk(index, live, [("delete", "after", None), ("index", "id 60", document(9, "new"))])
    flush(index)
    keep(index, live)


def hard_deletes():
    """Deletes in a live-docs file, where the server still allows an index without soft deletes."""
    index, live = "hard_deletes", {}
    try:
        create(index, {"soft_deletes.enabled": False})
    except urllib.error.HTTPError as e:
        print("no hard deletes here:", e.code)
        return
    bulk(index, live, [("index", k, document(n, "a%d" % n)) for n, k in enumerate(ids(0, 150))])
    flush(index)
    bulk(index, live, [("delete", k, None) for k in ids(3, 90)[::4]])
    flush(index)
    bulk(index, live, [("index", k, document(n, "b%d" % n)) for n, k in enumerate(ids(80, 100))])
    flush(index)
    keep(index, live)


def refused():
    """Documents that Lucene itself refuses after it stored them: every version deletes those in a live-docs file. And
    soft deletes in the same segment."""
    index, live = "refused", {}
    create(index, {})
    actions = [("index", k, '{"t":"%d","w":"%s"}' % (n, "w" * (33000 if n % 16 == 5 else 3))) for n, k in enumerate(ids(0, 100))]
    bulk(index, live, actions, refused=6)
    flush(index)
    bulk(index, live, [("delete", k, None) for k in ids(30, 40) if k in live])
    flush(index)
    keep(index, live)


def kinds():
    """Doc values of every kind, one and several a document, in a sorted index; soft deletes among them."""
    index, live = "kinds", {}
    properties = {"k": {"type": "keyword", "index": False}, "ks": {"type": "keyword", "index": False},
                  "n": {"type": "long", "index": False}, "ns": {"type": "long", "index": False},
                  "b": {"type": "binary", "doc_values": True}, "flag": {"type": "boolean", "index": False}}
    body = {"settings": {"index": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1",
                                   "sort.field": ["n", "k"], "sort.order": ["desc", "asc"]}},
            "mappings": {"dynamic": False, "properties": properties}}
    try:
        properties["n"]["skip_list"] = True  # OpenSearch 3: a skip index
        request("PUT", "/" + index, body)
    except urllib.error.HTTPError:
        del properties["n"]["skip_list"]
        request("PUT", "/" + index, body)
    actions = []
    for n, key in enumerate(ids(0, 90)):
        source = {"n": n % 13, "k": "key%d" % n}
        if n % 2:
            source.update(ks=["many%d" % (n * i) for i in range(n % 5)], ns=list(range(n % 4)), flag=n % 3 == 0)
        if n % 5:
            source["b"] = "QUJD" * (n % 6 + 1)
        actions.append(("index", key, json.dumps(source, separators=(",", ":"))))
    bulk(index, live, actions)
    bulk(index, live, [("delete", k, None) for k in ids(0, 90)[::7]])
    flush(index)
    keep(index, live)


cases = (lz4, deflate, hard_deletes, refused, kinds)
for case in [c for c in cases if c.__name__ in sys.argv[4:] or not sys.argv[4:]]:
    try:
        request("DELETE", "/" + case.__name__)
    except urllib.error.HTTPError:
        pass
    case()
