"""Series: every format, clocks, missing readings, options, and files that are damaged."""

import gzip
import io
import json
import zipfile

import numpy as np
import pytest

from sensorium.modalities import CARRIERS, carrier_of
from sensorium.modalities.series import infer_rate
from sensorium.types import InputError, Limits, Media, Modality, Signal

SERIES = CARRIERS["series"]
WAVE = np.stack([np.sin(np.arange(80) / 5), np.cos(np.arange(80) / 9), np.arange(80) / 80], 1).astype(
    np.float32
)


def read(content: object, name: str = "", **more: object) -> Signal:
    signal = SERIES.decode(Media(content=content, name=name, **more), Limits())
    assert signal is not None
    return signal


def packed(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def csv_of(times: object, header: str = "t,a,b,c", mark: str = ",") -> bytes:
    rows = [mark.join(map(str, (t, *row))) for t, row in zip(times, WAVE.tolist(), strict=True)]
    return "\n".join([header.replace(",", mark), *rows]).encode()


def parquet() -> bytes:
    arrow, table = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    table.write_table(arrow.table({"time": np.arange(80) / 50, "a": WAVE[:, 0], "b": WAVE[:, 1]}), out)
    return out.getvalue()


def edf() -> bytes:
    """Two channels, four records of one second at 20 Hz, -1..1 over the whole range of 16 bits."""

    def fields(width: int, *texts: str) -> bytes:
        return b"".join(t.ljust(width).encode() for t in texts)

    head = (
        fields(8, "0")
        + fields(80, "X", "X")
        + fields(8, "01.01.20", "00.00.00", str(256 * 3))
        + fields(44, "")
    )
    head += fields(8, "4", "1") + fields(4, "2")
    head += fields(16, "left", "right") + fields(80, "", "") + fields(8, "mV", "mV", "-1", "-1", "1", "1")
    head += fields(8, "-32768", "-32768", "32767", "32767") + fields(80, "", "") + fields(8, "20", "20")
    head += fields(32, "", "")
    numbers = np.round((WAVE[:, :2] + 1) / 2 * 65535 - 32768).astype("<i2").reshape(4, 20, 2)
    return head + numbers.transpose(0, 2, 1).tobytes()


HEADER = b"rec 2 360 80\nrec.dat 16 1000/mV 16 0 0 0 0 MLII\nrec.dat 16 1000/mV 16 0 0 0 0 V5\n"
DAT = np.round(WAVE[:, :2] * 1000).astype("<i2").tobytes()


def gpx() -> bytes:
    seconds = np.cumsum([1, 1, 7, 2, 2, 30])
    points = "".join(
        f'<trkpt lat="{48 + s / 1e4}" lon="11"><ele>{500 + s}</ele>'
        f"<time>2024-05-01T10:{s // 60:02}:{s % 60:02}Z</time></trkpt>"
        for s in seconds
    )
    head = '<?xml version="1.0"?><gpx xmlns="http://www.topografix.com/GPX/1/1">'
    return f"{head}<trk><trkseg>{points}</trkseg></trk></gpx>".encode()


def dat(name: str) -> bytes:
    if name != "rec.dat":
        raise InputError("no such file", got=name, fix="put it beside")
    return DAT


FILES = {
    "a.npy": npy(WAVE),
    "a.npz": packed(data=WAVE, rate=np.array(50.0), channels=np.array(["a", "b", "c"])),
    "a.csv": csv_of(np.arange(80) / 50),
    "a.tsv": csv_of(np.arange(80) / 50, mark="\t"),
    "a.csv.gz": gzip.compress(csv_of(np.arange(80) / 50)),
    "a.parquet": parquet(),
    "a.edf": edf(),
    "rec.hea": HEADER,
    "a.gpx": gpx(),
}


def learned(*signals: Signal, **given: object) -> Modality:
    options = json.loads(json.dumps(SERIES.survey(list(signals), **given)))
    return SERIES.define("s", "s", **options)


@pytest.mark.parametrize("name", [n for n in FILES if n != "a.gpx"])
def test_every_format_gives_the_same_readings(name: str):
    signal = read(FILES[name], name, beside=dat)
    assert carrier_of(name) == "series"
    assert np.allclose(signal.values[:, :2], WAVE[:, :2], atol=2e-3)
    assert signal.rate_hz == {"a.npy": None, "a.edf": 20.0, "rec.hea": 360.0}.get(name, 50.0)


def test_names_and_units_come_from_the_file():
    assert read(FILES["a.csv"], "a.csv").channels == ("a", "b", "c")
    assert read(FILES["a.edf"], "a.edf").channels == ("left", "right")
    wfdb = read(HEADER, "rec.hea", beside=dat)
    assert (wfdb.channels, wfdb.unit) == (("MLII", "V5"), "mV")


def test_gps_becomes_metres_at_irregular_times():
    signal = read(FILES["a.gpx"], "a.gpx")
    assert signal.times_s is not None
    assert np.allclose(np.diff(signal.times_s), [1, 7, 2, 2, 30])
    north = signal.values[:, signal.channels.index("north")]
    assert north[-1] == pytest.approx(42e-4 * 111_195, rel=0.01)


def test_gps_with_a_document_type_is_refused():
    bomb = b'<?xml version="1.0"?><!DOCTYPE gpx [<!ENTITY a "aaaa">]>' + gpx().split(b"?>", 1)[1]
    with pytest.raises(InputError):
        read(bomb, "a.gpx")


@pytest.mark.parametrize(
    "times", [np.arange(80) / 50, [f"2024-01-01T00:00:{i * 0.02:09.6f}" for i in range(80)]]
)
def test_a_regular_clock_becomes_a_rate(times: object):
    signal = read(csv_of(times, header="timestamp,a,b,c"), "a.csv")
    assert signal.rate_hz == pytest.approx(50)
    assert signal.times_s is None


def test_an_irregular_clock_stays_and_is_sorted():
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 3, 80))
    order = np.random.default_rng(1).permutation(80)
    rows = csv_of(times).decode().split("\n")
    signal = read("\n".join([rows[0], *(rows[1 + i] for i in order)]).encode(), "a.csv")
    assert signal.rate_hz is None
    assert np.allclose(np.diff(signal.times_s), np.diff(times))
    assert np.allclose(signal.values, WAVE, atol=1e-6)


def test_a_header_is_optional_and_gaps_are_missing_readings():
    signal = read(b"1,2\n3,\nNA,5\n", "a.csv")
    assert np.array_equal(signal.values, [[1, 2], [3, np.nan], [np.nan, 5]], equal_nan=True)


def test_a_span_is_cut_in_seconds():
    signal = read(FILES["a.npy"], "a.npy", rate_hz=10.0, span_s=(2.0, 3.0))
    assert np.array_equal(signal.values, WAVE[20:30])
    with pytest.raises(InputError, match="rate"):
        read(FILES["a.npy"], "a.npy", span_s=(2.0, 3.0))


def test_npy_is_not_copied_and_more_axes_are_flattened():
    content = npy(np.zeros((5, 4, 3), np.float32))
    assert read(content, "a.npy").values.shape == (5, 12)
    assert np.shares_memory(read(FILES["a.npy"], "a.npy").values, np.frombuffer(FILES["a.npy"], np.uint8))


def test_pickles_are_never_opened():
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name, content in (("a.npy", out.getvalue()), ("a.npz", None)):
        if content is None:
            pack = io.BytesIO()
            with zipfile.ZipFile(pack, "w") as archive:
                archive.writestr("data.npy", out.getvalue())
            content = pack.getvalue()
        with pytest.raises(InputError):
            read(content, name)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "a.csv"),
        (b"a,b\n", "a.csv"),
        (b"a,b\n1,x\n2,y\n", "a.csv"),
        (b"1,2\n3\n", "a.csv"),
        (b"\x00\x01\x02", "a.csv"),
        (npy(np.full((4, 2), np.nan)), "a.npy"),
        (npy(np.zeros((0, 3))), "a.npy"),
        (npy(np.array(["a", "b"])), "a.npy"),
        (b"PK\x03\x04", "a.npz"),
        (b"PAR1", "a.parquet"),
        (b"0       ", "a.edf"),
        (b"<gpx>", "a.gpx"),
        (b"<gpx/>", "a.gpx"),
        (b"rec", "rec.hea"),
        (HEADER.replace(b"2 360", "2³360".encode("latin-1"), 1), "rec.hea"),
    ],
)
def test_what_holds_no_numbers_is_refused(content: bytes, name: str):
    with pytest.raises(InputError):
        read(content, name, beside=dat)


def test_bombs_are_refused_before_they_unpack():
    small = Limits(bytes=1000, numbers=1000)
    for content, name in (
        (gzip.compress(b"1,2\n" * 5000), "a.csv.gz"),
        (packed(data=np.zeros((100, 100))), "a.npz"),
    ):
        with pytest.raises(InputError, match="limit"):
            SERIES.decode(Media(content=content, name=name), small)


@pytest.mark.parametrize("name", FILES)
def test_damage_gives_an_input_error_and_nothing_else(name: str):
    content, rng = FILES[name], np.random.default_rng(0)
    modality = learned(read(content, name, beside=dat))
    damaged = [content[:n] for n in np.linspace(0, len(content) - 1, 25).astype(int)]
    for _ in range(50):
        broken = bytearray(content)
        broken[rng.integers(0, min(len(broken), 2000))] ^= 1 << int(rng.integers(0, 8))
        damaged.append(bytes(broken))
    refused = 0
    for broken in damaged:
        try:
            signal = SERIES.decode(Media(content=broken, name=name, beside=dat), Limits(numbers=1_000_000))
            assert np.isfinite(modality.patches(signal)).all()
        except InputError:
            refused += 1
    assert refused > 5


def test_patches_are_finite_scaled_and_of_the_promised_shape():
    rng = np.random.default_rng(0)
    signals = [
        Signal(values=(rng.normal(size=(n, 3)) * [1, 100, 0] + [0, 7000, 5]).astype(np.float32))
        for n in (50, 60, 70)
    ]
    modality = learned(*signals)
    for signal in signals:
        patches = modality.patches(signal)
        assert patches.dtype == np.float32
        assert patches.shape == (len(patches), *modality.item)
        assert len(patches) <= modality.longest
        assert np.isfinite(patches).all()
        assert np.abs(patches).max() <= 12
    assert modality.patches(signals[0])[:, 1].std() == pytest.approx(1, abs=0.4)


def test_missing_readings_are_marked_and_change_nothing_else():
    values = WAVE.copy()
    values[10:30, 1] = np.nan
    modality, plain = learned(Signal(values=values, rate_hz=10.0)), learned(Signal(values=WAVE, rate_hz=10.0))
    assert modality.item[0] > plain.item[0]
    assert np.isfinite(modality.patches(Signal(values=values, rate_hz=10.0))).all()


def test_channels_are_matched_by_name():
    full = Signal(values=WAVE, rate_hz=10.0, channels=("a", "b", "c"))
    modality = learned(full)
    turned = Signal(values=WAVE[:, ::-1].copy(), rate_hz=10.0, channels=("c", "b", "a"))
    assert np.allclose(modality.patches(turned), modality.patches(full), atol=1e-5)
    with pytest.raises(InputError):
        modality.patches(Signal(values=np.zeros((10, 7), np.float32), rate_hz=10.0))


def test_irregular_times_go_along():
    times = np.cumsum(np.random.default_rng(0).uniform(0.1, 3, 80))
    even = Signal(values=WAVE, times_s=np.linspace(0, times[-1], 80))
    uneven = Signal(values=WAVE, times_s=times)
    modality = learned(uneven)
    assert not np.allclose(modality.patches(uneven), modality.patches(even))


def test_augmented_patches_keep_their_shape_but_for_steps():
    modality = learned(Signal(values=WAVE, rate_hz=10.0))
    patches, rng = modality.patches(Signal(values=WAVE, rate_hz=10.0)), np.random.default_rng(0)
    before = patches.copy()
    for strength in (0.0, 0.5, 1.0):
        out = modality.augment(patches, rng, strength)
        assert out.dtype == np.float32
        assert out.shape[1:] == modality.item
        assert 0 < len(out) <= modality.longest
        assert np.isfinite(out).all()
    assert np.array_equal(patches, before)
    assert not np.array_equal(modality.augment(patches, rng, 1.0)[:20], patches[:20])


@pytest.mark.parametrize("steps", [1, 2, 5, 80])
def test_statistics_have_one_length(steps: int):
    modality = learned(Signal(values=WAVE, rate_hz=10.0))
    numbers = modality.statistics(modality.patches(Signal(values=WAVE[:steps], rate_hz=10.0)))
    full = modality.statistics(modality.patches(Signal(values=WAVE, rate_hz=10.0)))
    assert numbers.shape == full.shape
    assert numbers.dtype == np.float32
    assert np.isfinite(numbers).all()
    assert len(numbers) <= 1500


def test_options_given_as_text_win_and_unknown_ones_are_refused():
    assert learned(Signal(values=WAVE), rate="50", longest="16").longest == 16
    for wrong in ({"colour": "red"}, {"longest": "many"}, {"longest": "-3"}):
        with pytest.raises(InputError):
            learned(Signal(values=WAVE), **wrong)
    with pytest.raises(InputError):
        SERIES.survey([])


@pytest.mark.parametrize(
    ("pairs", "rate"), [([(650000, 1805.4), (650000, 1700.0)], 360.0), ([(1000, 9.99)], 100.0), ([], None)]
)
def test_the_rate_is_told_by_the_spans(pairs: list[tuple[int, float]], rate: float | None):
    assert infer_rate(pairs) == rate


def test_preview_is_small_json():
    shown = SERIES.preview(Signal(values=np.random.default_rng(0).normal(size=(5000, 40)), rate_hz=100.0))
    assert len(shown["lines"]) <= 6
    assert max(map(len, shown["lines"])) <= 200
    assert len(json.dumps(shown)) < 40_000


def test_the_suffix_tells_the_carrier():
    assert carrier_of("A.CSV.GZ") == "series"
    assert carrier_of("nothing.xyzzy") is None
    assert list(CARRIERS) == ["text", "image", "video", "audio", "series", "points", "table"]
