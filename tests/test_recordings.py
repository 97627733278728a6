"""Files of recordings: every format against an independent reader; damage, bombs, clocks."""

import gzip
import io
import json
import re
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.modalities import series
from sensorium.modalities.recordings import regular_rate
from sensorium.types import InputError, Limits, Media

CARRIER = series.CARRIER
LIMITS = Limits()


def decoded(content, name="", **more):
    return CARRIER.decode(Media(content=content, name=name, **more), LIMITS)


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz_bytes(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def waves(steps=120, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, channels)).cumsum(0)


def learned(signals, **told):
    options = json.loads(json.dumps(CARRIER.survey(signals, **told)))
    return CARRIER.define("s", "s", **options)


# --- arrays


@pytest.mark.parametrize("dtype", ["<i2", ">f4", "<f8", "|u1", "|b1", "<i8"])
def test_npy_equals_numpy_without_a_copy(dtype):
    array = (waves() * 10).astype(dtype)
    raw = npy_bytes(array)
    signal = decoded(raw, "a.npy")
    np.testing.assert_array_equal(signal.values, np.load(io.BytesIO(raw)))
    if array.dtype.kind != "b":
        assert np.shares_memory(signal.values, np.frombuffer(raw, np.uint8))


def test_npy_in_column_order_and_with_more_axes():
    skeleton = np.asfortranarray(waves(40, 60).reshape(40, 20, 3))
    np.testing.assert_array_equal(decoded(npy_bytes(skeleton), "s.npy").values, skeleton.reshape(40, 60))
    assert decoded(npy_bytes(np.arange(5.0)), "s.npy").values.shape == (5, 1)


def test_npy_with_objects_is_refused_and_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    file = io.BytesIO()
    np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError):
        decoded(file.getvalue(), "a.npy")
    assert not (tmp_path / "trapped").exists()


def test_npz_brings_its_rate_channels_and_times():
    x = waves()
    signal = decoded(npz_bytes(data=x, fs=250, channels=np.array(["a", "b", "c"])), "a.npz")
    assert signal.rate_hz == 250
    assert signal.channels == ("a", "b", "c")
    np.testing.assert_array_equal(signal.values, x)
    times = np.sort(np.random.default_rng(0).random(120))
    irregular = decoded(npz_bytes(x=x, times=times), "a.npz")
    np.testing.assert_allclose(irregular.times_s, times - times[0])
    assert decoded(npz_bytes(x=x, t=np.arange(120) / 50 + 7), "a.npz").rate_hz == 50


def test_a_bare_array_takes_the_given_rate_and_the_span():
    x = waves(100)
    signal = decoded(x, rate_hz=10, span_s=(2.0, 5.0))
    np.testing.assert_array_equal(signal.values, x[20:50])
    np.testing.assert_array_equal(
        decoded(npy_bytes(x), "a.npy", rate_hz=10, span_s=(8.0, np.inf)).values, x[80:]
    )
    with pytest.raises(InputError, match="samples per second"):
        decoded(x, span_s=(2.0, 5.0))
    with pytest.raises(InputError, match="outside"):
        decoded(x, rate_hz=10, span_s=(11.0, 12.0))


# --- text tables


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        ("a,b\n1,2\n3,4\n", ("a", "b")),
        ("1,2\n3,4\n", ()),
        ("1;2\n3;4\n", ()),
        ("1,0;2,0\n3,0;4,0\n", ()),
        ("a\tb\r\n1\t2\r\n3\t4\r\n", ("a", "b")),
        ("\ufeffa,b\n1,2\n3,4", ("a", "b")),
        ('"a","b"\n"1","2"\n"3","4"\n', ("a", "b")),
        ("# a,b\n1,2\n3,4\n", ("a", "b")),
        ("1 2\n3  4\n", ()),
        ("a,b\n1,2\n\n3,4\n\n", ("a", "b")),
    ],
)
def test_csv_of_every_habit(text, channels):
    signal = decoded(text.encode(), "x.csv")
    np.testing.assert_array_equal(signal.values, [[1, 2], [3, 4]])
    assert signal.channels == channels


def test_csv_and_its_gz_equal_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(waves(), columns=list("abc"))
    text = frame.to_csv(index=False).encode()
    expected = pandas.read_csv(io.BytesIO(text)).to_numpy()
    np.testing.assert_allclose(decoded(text, "x.csv").values, expected, rtol=1e-15)
    np.testing.assert_allclose(decoded(gzip.compress(text), "x.csv.gz").values, expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("header", "first", "step", "rate"),
    [("t", 10, 0.02, 50), ("time_ms", 0, 4, 250), ("Time [s]", 0, 0.1, 10), ("timestamp", 1.7e12, 20, 50)],
)
def test_a_regular_time_column_becomes_a_rate(header, first, step, rate):
    rows = "".join(f"{first + i * step},{i}\n" for i in range(30))
    signal = decoded(f"{header},v\n{rows}".encode(), "x.csv")
    assert signal.rate_hz == rate
    assert signal.channels == ("v",)
    np.testing.assert_array_equal(signal.values[:, 0], np.arange(30))


def test_spans_count_from_the_first_reading_with_any_clock():
    even = "t,v\n" + "".join(f"{100 + i / 10},{i}\n" for i in range(50))
    np.testing.assert_array_equal(
        decoded(even.encode(), "x.csv", span_s=(1, 2)).values[:, 0], np.arange(10, 20)
    )
    odd = "t,v\n" + "".join(f"{100 + i * i},{i}\n" for i in range(10))
    signal = decoded(odd.encode(), "x.csv", span_s=(4, 20))
    np.testing.assert_array_equal(signal.values[:, 0], [2, 3, 4])
    np.testing.assert_array_equal(signal.times_s, [0, 5, 12])
    np.testing.assert_array_equal(decoded(odd.encode(), "x.csv", span_s=(64, np.inf)).values[:, 0], [8, 9])


def test_iso_dates_gaps_and_readings_out_of_order():
    text = "time,v\n2024-01-01T00:00:10.5Z,2\n2024-01-01 00:00:00,1\n2024-01-01T02:00:00+01:00,9\n"
    signal = decoded(text.encode(), "x.csv")
    np.testing.assert_allclose(signal.times_s, [0, 10.5, 3600])
    np.testing.assert_array_equal(signal.values[:, 0], [1, 2, 9])


def test_empty_cells_are_missing_readings():
    signal = decoded(b"a,b\n1,\n,nan\nNA,4\n", "x.csv")
    np.testing.assert_array_equal(signal.values, [[1, np.nan], [np.nan, np.nan], [np.nan, 4]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,x\n", "line 2"),
        ("a,b\n1,2\n3\n", "line 3"),
        ('a,b\n1,"2\n3,4\n', "quoting|cells"),
        ("a,b\n", "no rows"),
        ("\n\n", "no rows"),
        ("a,b\n,\n,\n", "no finite"),
        ("a\ninf\n-inf\n", "no finite"),
        ("t,v\n1,2\n,3\n4,5\n", "no time"),
        ("time\n1\n2\n", "no readings"),
    ],
)
def test_bad_tables_say_what_is_wrong(text, says):
    with pytest.raises(InputError, match=says):
        decoded(text.encode(), "x.csv")


def test_infinite_readings_become_missing_ones():
    values = decoded(np.array([[1.0, np.inf], [2.0, 3.0]])).values
    np.testing.assert_array_equal(values, [[1, np.nan], [2, 3]])


# --- Parquet, EDF, WFDB, GPX


def test_parquet_equals_its_table():
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    x = waves()
    times = (np.arange(120) * 20).astype("datetime64[ms]")
    file = io.BytesIO()
    parquet.write_table(arrow.table({"time": times, "a": x[:, 0], "b": x[:, 1].astype("f4")}), file)
    signal = decoded(file.getvalue(), "x.parquet")
    assert signal.rate_hz == 50
    assert signal.channels == ("a", "b")
    np.testing.assert_allclose(signal.values, x[:, :2], rtol=1e-6)
    text = io.BytesIO()
    parquet.write_table(arrow.table({"a": ["x", "y"]}), text)
    with pytest.raises(InputError, match="no numbers"):
        decoded(text.getvalue(), "x.parquet")


def edf_bytes(path, *, rates=(100, 100, 20), bdf=False):
    pyedflib = pytest.importorskip("pyedflib")
    bits = 23 if bdf else 15
    heads = [
        {"label": f"c{i}", "dimension": "uV", "sample_frequency": r, "physical_max": 200,
         "physical_min": -200,
         "digital_max": (1 << bits) - 1, "digital_min": -(1 << bits), "transducer": "", "prefilter": ""}
        for i, r in enumerate(rates)
    ]  # fmt: skip
    kind = pyedflib.FILETYPE_BDFPLUS if bdf else pyedflib.FILETYPE_EDFPLUS
    writer = pyedflib.EdfWriter(str(path), len(rates), file_type=kind)
    writer.setSignalHeaders(heads)
    writer.writeSamples([np.sin(np.arange(4 * r) / 9) * 50 for r in rates])
    writer.close()
    reader = pyedflib.EdfReader(str(path))
    expected = [reader.readSignal(i) for i in range(len(rates))]
    reader.close()
    return path.read_bytes(), expected


@pytest.mark.parametrize("bdf", [False, True])
def test_edf_and_bdf_equal_pyedflib(tmp_path, bdf):
    raw, expected = edf_bytes(tmp_path / "x.edf", bdf=bdf)
    signal = decoded(raw, "x.bdf" if bdf else "x.edf")
    assert signal.rate_hz == 100
    assert signal.unit == "uV"
    assert signal.channels == ("c0", "c1", "c2")
    np.testing.assert_allclose(signal.values[:, :2].T, expected[:2], atol=1e-4)
    np.testing.assert_allclose(
        signal.values[2::5, 2], expected[2], atol=1e-4
    )  # the slow one, between its readings


@pytest.mark.parametrize("form", ["16", "212", "80", "24", "32"])
def test_wfdb_equals_wfdb(tmp_path, form):
    wfdb = pytest.importorskip("wfdb")
    x = np.sin(np.arange(400) / 7)[:, None] * [0.5, 0.3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp(
            "rec", fs=360, units=["mV", "mV"], sig_name=["II", "V 1"], p_signal=x, fmt=[form] * 2,
            write_dir=str(tmp_path), adc_gain=[200.0, 200.0], baseline=[0, 0],
        )  # fmt: skip
        expected = wfdb.rdrecord(str(tmp_path / "rec"))
    head = (tmp_path / "rec.hea").read_bytes()
    signal = decoded(head, "rec.hea", beside=lambda name: (tmp_path / name).read_bytes())
    assert signal.rate_hz == 360
    assert signal.channels == ("II", "V 1")
    np.testing.assert_allclose(signal.values, expected.p_signal, atol=1e-5)
    with pytest.raises(InputError, match="beside"):
        decoded(head, "rec.hea")
    with pytest.raises(InputError, match="promises"):
        decoded(head, "rec.hea", beside=lambda name: (tmp_path / name).read_bytes()[:100])


GPX = """<?xml version="1.0" encoding="UTF-8"?>
<gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1" creator="me"><trk><trkseg>
<trkpt lat="47.0000" lon="8.0000"><ele>400</ele><time>2024-05-01T10:00:00Z</time></trkpt>
<trkpt lat="47.0010" lon="8.0000"><ele>405</ele><time>2024-05-01T10:00:20Z</time></trkpt>
<trkpt lat="47.0010" lon="8.0020"><time>2024-05-01T10:01:30.5Z</time></trkpt>
</trkseg></trk></gpx>"""


def test_gpx_becomes_metres_from_the_first_fix():
    signal = decoded(GPX.encode(), "a.gpx")
    assert signal.channels == ("east", "north", "up", "speed")
    np.testing.assert_allclose(signal.times_s, [0, 20, 90.5])
    np.testing.assert_allclose(signal.values[:, 1], [0, 111.19, 111.19], atol=0.1)
    np.testing.assert_allclose(signal.values[2, 0], 151.7, atol=0.3)
    np.testing.assert_array_equal(signal.values[:, 2], [0, 5, np.nan])
    np.testing.assert_allclose(signal.values[1, 3], 111.19 / 20, rtol=1e-3)
    gpxpy = pytest.importorskip("gpxpy")
    points = gpxpy.parse(GPX).tracks[0].segments[0].points
    far = [points[0].distance_2d(p) for p in points]
    np.testing.assert_allclose(np.hypot(*signal.values[:, :2].T), far, rtol=5e-3)


def test_gpx_without_times_takes_the_given_rate():
    untimed = re.sub("<time>.*?</time>", "", GPX)
    signal = decoded(untimed.encode(), "a.gpx", rate_hz=0.1)
    assert signal.rate_hz == 0.1
    np.testing.assert_allclose(signal.values[1, 3], 11.119, rtol=1e-3)


def test_gpx_with_entities_is_refused_in_any_encoding():
    evil = GPX.replace("<gpx", '<!DOCTYPE g [<!ENTITY a "&b;">]><gpx', 1)
    for raw in (evil.encode(), evil.replace("UTF-8", "UTF-16").encode("utf-16")):
        with pytest.raises(InputError, match="entities"):
            decoded(raw, "a.gpx")
    assert len(decoded(GPX.replace("UTF-8", "UTF-16").encode("utf-16"), "a.gpx").values) == 3


def test_latitude_and_longitude_of_a_table_become_metres():
    signal = decoded(b"time,lat,lon,hr\n0,0,179.9999,80\n1,0,-179.9999,90\n2,0,-179.9997,91\n", "a.csv")
    assert signal.channels == ("east", "north", "up", "speed", "hr")
    np.testing.assert_allclose(signal.values[:, 0], [0, 22.24, 44.48], atol=0.05)
    with pytest.raises(InputError, match="Earth"):
        decoded(b"lat,lon\n95,3\n1,2\n", "a.csv")


# --- size and damage


def test_bombs_are_refused_before_they_unpack():
    small = Limits(bytes=100_000, numbers=1000)
    bombs = {
        "a.csv.gz": gzip.compress(b"1,2\n" * 1_000_000),
        "a.npz": npz_bytes(x=np.zeros(1_000_000)),
        "a.npy": npy_bytes(np.zeros(2000, np.uint8)),
        "a.csv": b"1,2\n" * 2000,
    }
    for name, raw in bombs.items():
        with pytest.raises(InputError, match="limit"):
            CARRIER.decode(Media(content=raw, name=name), small)
    with pytest.raises(InputError, match="bytes"):
        CARRIER.decode(Media(content=bombs["a.npz"], name="a.npz"), Limits(bytes=100_000))
    honest = npy_bytes(np.zeros(4))
    for size in (b"400000000", b"9" * 18, b"9" * 60):
        lying = honest.replace(b"(4,), }" + b" " * (len(size) - 1), b"(" + size + b",), }")
        assert len(lying) == len(honest)
        assert lying != honest
        with pytest.raises(InputError):
            decoded(lying, "a.npy")


def test_a_bomb_costs_no_memory():
    bomb = gzip.compress(bytes(60_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="limit"):
            CARRIER.decode(Media(content=bomb, name="a.csv.gz"), Limits(bytes=100_000))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def files(folder):
    folder.mkdir(exist_ok=True)
    made = {
        "a.npy": npy_bytes(waves(30)),
        "a.npz": npz_bytes(data=waves(30), fs=10.0, channels=np.array(["a", "b", "c"])),
        "a.csv": b"t,a\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(40)),
        "a.csv.gz": gzip.compress(b"a,b\n" + b"1.5,2\n" * 40),
        "a.gpx": GPX.encode(),
        "a.hea": b"a 2 360 30\na.dat 212 200(0)/mV 12 0 1 2 0 II\na.dat 212 200 12 0 1 2 0 V\n",
    }
    try:
        made["a.edf"] = edf_bytes(folder / "x.edf")[0]
    except pytest.skip.Exception:
        pass
    try:
        import pyarrow
        from pyarrow import parquet

        file = io.BytesIO()
        parquet.write_table(pyarrow.table({"a": waves(30)[:, 0]}), file)
        made["a.parquet"] = file.getvalue()
    except ImportError:
        pass
    return made


def test_truncated_and_flipped_bytes_give_input_error_or_numbers(tmp_path):
    rng = np.random.default_rng(0)
    limits = Limits(bytes=10_000_000, numbers=1_000_000)
    refused = 0
    for name, raw in files(tmp_path / "f").items():
        for trial in range(150):
            broken = bytearray(raw)
            if trial % 3 == 0:
                broken = broken[: int(rng.integers(0, len(raw)))]
            else:
                for place in rng.integers(
                    0, min(len(raw), 400 if trial % 3 == 1 else len(raw)), 1 + trial % 4
                ):
                    broken[place] ^= 1 << int(rng.integers(8))
            media = Media(content=bytes(broken), name=name, beside=lambda _: bytes(90))
            try:
                signal = CARRIER.decode(media, limits)
                assert signal.values.ndim == 2
            except InputError:
                refused += 1
    assert refused > 300


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(sorted(series.SUFFIXES)))
def test_any_bytes_under_any_name(raw, suffix):
    try:
        decoded(raw, "x" + suffix, beside=lambda _: raw)
    except InputError:
        pass


# --- the clock


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([1, 10, 50, 173.61, 360, 1000, 44100]), st.integers(3, 400), st.floats(0, 0.2))
def test_a_jittered_clock_is_regular_and_one_with_a_gap_is_not(rate, steps, jitter):
    times = (np.arange(steps) + jitter * np.random.default_rng(0).uniform(-1, 1, steps)) / rate
    assert regular_rate(times) == pytest.approx(rate, rel=2.6 * jitter / (steps - 1) + 2e-3)
    if steps > 8:
        times[steps // 2 :] += 3 / rate
        assert regular_rate(times) is None


def test_infer_rate_finds_the_rate_that_makes_every_span_fit():
    assert series.infer_rate([(650_000, 1805.4)]) == 360
    assert series.infer_rate([(9600, 60.0), (19_200, 120.0)]) == 160
    assert series.infer_rate([(1000, 9.99), (1000, 3.0)]) == 100
    assert series.infer_rate([]) is None
    assert series.infer_rate([(10, 100.0)]) is None
    assert series.infer_rate([(1_234_567, 1.0)]) is None
