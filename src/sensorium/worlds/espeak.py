"""Speech by espeak-ng where the extra `demo` is installed, always in a process of its own.

The engine keeps state from one utterance to the next, so only a fresh process gives the same bytes for the
same list of words. That process is this file, run as `python -m sensorium.worlds.espeak WORDS.json
SOUNDS.npz`. The engine is under the GPL: it is called where a user has installed it, and is no part of this
package.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sensorium.types import InputError

RATE_HZ = 22_050  # what the engine's voices are made for
_SYNCHRONOUS, _NO_EXIT = 2, 0x8000  # AUDIO_OUTPUT_SYNCHRONOUS and INITIALIZE_DONT_EXIT of speak_lib.h
_PACE, _PITCH, _RANGE = 1, 3, 4  # espeakRATE, espeakPITCH, espeakRANGE
_UTF8, _CHARACTERS = 1, 1  # espeakCHARS_UTF8 and POS_CHARACTER

# An accent of English plus a variant of the speaker; every one of them speaks all digits clearly.
VOICES = (
    "en-us",
    "en+f2",
    "en-gb-scotland+m3",
    "en-us+f3",
    "en-gb-x-rp+m1",
    "en-029+f4",
    "en-us-nyc+m7",
    "en-gb-x-gbclan+f1",
    "en-us+Alex",
    "en+Annie",
    "en-gb-scotland+f5",
    "en-us+m2",
    "en-gb-x-rp+linda",
    "en-us+Andy",
    "en-us+steph",
    "en-029+Gene",
    "en-us+Mario",
    "en-gb-x-gbcwmd+Alicia",
    "en-us-nyc+anika",
    "en+david",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """What to say and how."""

    text: str
    voice: str  # one of VOICES, or any name the engine knows
    pace: int = 170  # words a minute, 80..450
    pitch: int = 50  # 0..100
    melody: int = 50  # range of the pitch, 0..100


def available() -> bool:
    """Whether the engine is installed (the extra `demo`)."""
    from importlib.util import find_spec

    return find_spec("espeakng_loader") is not None


def speak(utterances: Sequence[Utterance]) -> list[np.ndarray]:
    """Say everything, in order; one (samples,) float32 array in -1..1 at RATE_HZ for each.

    The same list gives the same arrays, whatever was said before. Raises InputError where the engine fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        words, sounds = Path(folder, "words.json"), Path(folder, "sounds.npz")
        words.write_text(json.dumps([asdict(u) for u in utterances]), encoding="utf-8")
        command = [sys.executable, "-m", "sensorium.worlds.espeak", str(words), str(sounds)]
        here = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        told = subprocess.run(command, capture_output=True, text=True, check=False, env=here)
        if told.returncode:
            raise InputError(
                "the speech engine failed",
                got=(told.stderr.strip().splitlines() or [f"exit {told.returncode}"])[-1],
                fix="uninstall espeakng-loader to use the built-in voices, or reinstall it",
            )
        with np.load(sounds) as found:
            whole, lengths = found["sounds"], found["lengths"]
    return np.split(whole.astype(np.float32) / 32768, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _engine(heard: list[np.ndarray]) -> tuple[ctypes.CDLL, object]:
    """Load and start the engine; what it says is appended to `heard` while the second value is kept."""
    import espeakng_loader

    engine = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    if engine.espeak_Initialize(_SYNCHRONOUS, 0, data, _NO_EXIT) != RATE_HZ:
        raise OSError("espeak-ng did not start")
    engine.espeak_ng_SetRandSeed(ctypes.c_long(1))  # or the breath of a voice is seeded by the clock

    def hear(samples, count, _events) -> int:
        if samples and count > 0:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    callback = kind(hear)
    engine.espeak_SetSynthCallback(callback)
    return engine, callback


def _say(engine: ctypes.CDLL, utterance: Utterance) -> None:
    if engine.espeak_SetVoiceByName(utterance.voice.encode()):
        raise OSError(f"espeak-ng knows no voice {utterance.voice!r}")
    for parameter, value in ((_PACE, utterance.pace), (_PITCH, utterance.pitch), (_RANGE, utterance.melody)):
        engine.espeak_SetParameter(parameter, value, 0)
    text = utterance.text.encode() + b"\0"
    if engine.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, _CHARACTERS, 0, _UTF8, None, None):
        raise OSError(f"espeak-ng could not say {utterance.text!r}")
    engine.espeak_Synchronize()


def main(words: str, sounds: str) -> None:
    """Say what the JSON file `words` lists and write the sounds to an NPZ file."""
    heard: list[np.ndarray] = []
    engine, _callback = _engine(heard)
    lengths, takes = [], []
    for fields in json.loads(Path(words).read_text(encoding="utf-8")):
        heard.clear()
        _say(engine, Utterance(**fields))
        takes.append(np.concatenate([np.zeros(0, np.int16), *heard]))
        lengths.append(len(takes[-1]))
    np.savez(
        sounds, sounds=np.concatenate([np.zeros(0, np.int16), *takes]), lengths=np.array(lengths, np.int64)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
