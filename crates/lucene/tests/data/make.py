#!/usr/bin/env python3
"""Have a running Elasticsearch or OpenSearch server write the Lucene indices that the tests read.

  make.py URL DATA_DIR OUT_DIR [CASE]...

URL is a node without security on this machine, DATA_DIR its path.data, OUT_DIR where the cases go, named for the version
(for example tests/data/lucene-9.12-opensearch-2.19.5). What is expected of a case is the same for all versions, and
goes beside OUT_DIR. See README.md for the cases. Standard library only.
"""
import glob, json, os, shutil, struct, sys, urllib.error, urllib.request, zlib

URL, DATA, OUT = sys.argv[1:4]
WANTED = (".si", ".fnm", ".fdt", ".fdx", ".fdm", ".liv", ".del", ".cfs", ".cfe", ".dvd", ".dvm")


def request(method, path, body=None, kind="application/json"):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    q = urllib.request.Request(URL + path, data=data, method=method, headers={"Content-Type": kind} if data else {})
    with urllib.request.urlopen(q, timeout=60) as r:
        return json.load(r)


def version():
    """The version as Elasticsearch counts (OpenSearch took over at 7.10), and whether it is OpenSearch."""
    nodes = request("GET", "/_nodes/_local")
    (node,) = nodes["nodes"].values()
    number = tuple(int(n) for n in node["version"].split(".")[:2])
    is_opensearch = "opensearch" in json.dumps(node).lower()
    return (7, 10) if is_opensearch else number, is_opensearch


VERSION, OPENSEARCH = version()
TYPED = VERSION < (7, 0)
STRINGS = VERSION < (5, 0)  # the field type that text and keyword were before
STORED = {"i": "integer", "l": "long", "f": "float", "d": "double"}


def put(index, settings, properties, mapping=None):
    mapping = dict({"dynamic": False, "properties": properties}, **(mapping or {}))
    settings = dict({"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}, **settings)
    request("PUT", "/" + index, {"settings": {"index": settings},
                                 "mappings": {"doc": mapping} if TYPED else mapping})


def create(index, settings):
    no = "no" if STRINGS else False
    properties = {k: {"type": t, "store": True, "index": no, "doc_values": False} for k, t in STORED.items()}
    properties["w"] = {"type": "string" if STRINGS else "text", "analyzer": "keyword"}
    properties["s"] = dict({"type": "string"} if STRINGS else {"type": "keyword", "doc_values": False}, store=True, index=no)
    if (6, 5) <= VERSION < (7, 0):
        settings = dict({"soft_deletes.enabled": True}, **settings)  # the default from 7.0 on
    put(index, settings, properties)


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
        lines.append(json.dumps({verb: dict({"_index": index, "_id": key}, **({"_type": "doc"} if TYPED else {}))}))
        if verb == "delete":
            live.pop(key)
        else:
            lines.append(source)
            live[key] = source
    r = request("POST", "/_bulk", ("\n".join(lines) + "\n").encode(), "application/x-ndjson")
    failed = [i["_id"] for i in (list(i.values())[0] for i in r["items"]) if "error" in i]
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
    directory = index if VERSION < (5, 0) else uuid
    (source,) = glob.glob("%s/**/%s/0/index" % (DATA, directory), recursive=True)
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
    merge = "_forcemerge" if VERSION >= (2, 1) else "_optimize"
    request("POST", "/%s/%s?max_num_segments=1&flush=true" % (index, merge))
    bulk(index, live, [("index", k, document(n, "b%d" % n)) for n, k in enumerate(ids(100, 160))])
    flush(index)
    bulk(index, live, [("delete", k, None) for k in ids(0, 1050)[::9]])
    flush(index)
    keep(index, live)


def deflate():
    """Compound segments: soft deletes at flush (inside) and later (a generation outside)."""
    if VERSION < (2, 0):
        print("no best_compression here")
        return
    best_compression("deflate", "legacy_best_compression" if VERSION >= (8, 17) else "best_compression")


def zstd():
    """The same with Zstandard: Elasticsearch's best_compression from 8.17 on, zstd of OpenSearch's plugin custom-codecs."""
    if OPENSEARCH:
        plugin_codec("zstd")
    elif VERSION < (8, 17):
        print("no zstd here")
    else:
        best_compression("zstd", "best_compression")


def zstd_no_dict():
    """The same with zstd_no_dict of that plugin."""
    plugin_codec("zstd_no_dict")


def qat_deflate():
    """The same with qat_deflate of that plugin, where the machine can."""
    plugin_codec("qat_deflate")


def qat_lz4():
    """The same with qat_lz4 of that plugin, where the machine can."""
    plugin_codec("qat_lz4")


def plugin_codec(codec):
    try:
        best_compression(codec, codec)
    except urllib.error.HTTPError as e:
        print("no %s here: %s" % (codec, e.read()[:300]))


def best_compression(index, codec):
    live = {}
    create(index, {"codec": codec})
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
        create(index, {"soft_deletes.enabled": False} if VERSION >= (6, 5) else {})
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
    if VERSION < (6, 5):
        print("no soft deletes here")
        return
    properties = {"k": {"type": "keyword", "index": False}, "ks": {"type": "keyword", "index": False},
                  "n": {"type": "long", "index": False}, "ns": {"type": "long", "index": False},
                  "b": {"type": "binary", "doc_values": True}, "flag": {"type": "boolean", "index": False}}
    settings = {"sort.field": ["n", "k"], "sort.order": ["desc", "asc"], "soft_deletes.enabled": True}
    try:
        properties["n"]["skip_list"] = True  # OpenSearch 3: a skip index
        put(index, settings, properties)
    except urllib.error.HTTPError:
        del properties["n"]["skip_list"]
        put(index, settings, properties)
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


def logsdb():
    """The index mode of logs: sorted, doc values in formats of its own, soft deletes. The source is stored all the same."""
    index, live = "logsdb", {}
    if OPENSEARCH or VERSION < (8, 17):
        print("no logsdb here")
        return
    properties = {"@timestamp": {"type": "date"}, "host": {"properties": {"name": {"type": "keyword"}}},
                  "message": {"type": "text"}, "n": {"type": "long"}}
    put(index, {"mode": "logsdb", "mapping.source.mode": "stored"}, properties, {"dynamic": True})
    actions = []
    for n, key in enumerate(ids(0, 120)):
        source = {"@timestamp": "2024-05-%02dT10:%02d:00Z" % (n % 28 + 1, n % 60), "host": {"name": "host%d" % (n % 7)},
                  "message": "request %d took %d ms" % (n, n * n % 1000), "n": n}
        actions.append(("index", key, json.dumps(source, separators=(",", ":"))))
    bulk(index, live, actions)
    bulk(index, live, [("delete", k, None) for k in ids(0, 120)[::11]])
    flush(index)
    bulk(index, live, [("delete", k, None) for k in ids(0, 120)[1::11]])
    flush(index)
    keep(index, live)


cases = (lz4, deflate, zstd, zstd_no_dict, qat_deflate, qat_lz4, hard_deletes, refused, kinds, logsdb)
for case in [c for c in cases if c.__name__ in sys.argv[4:] or not sys.argv[4:]]:
    try:
        request("DELETE", "/" + case.__name__)
    except urllib.error.HTTPError:
        pass
    case()
