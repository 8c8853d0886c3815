"""netbond.srtla.advice: what an encoder is told can be written and read as JSON."""

from netbond.srtla.advice import Advice, LinkAdvice
from netbond.system.typed_json import from_json, to_json


def test_advice_can_be_written_and_read() -> None:
    link = LinkAdvice("usb1", "up", 4_000_000, "measured", 120, 35, 48, 0.5, 3_900_000)
    advice = Advice(3_600_000, 4_000_000, 35, 1000, 0.0, 48, (link,))
    assert from_json(Advice, to_json(advice)) == advice
