"""Tokens -> a sequence: decoders that write text, their losses, and the searches that read them out."""

from sensorium.translation.decoder import Decoder, Tree
from sensorium.translation.recurrent import AttentiveDecoder
from sensorium.translation.transformer import TextDecoder

__all__ = ["AttentiveDecoder", "Decoder", "TextDecoder", "Tree"]
