from tests.sinks.google_sheets.test_machine import *


def test_long(google, key_file):
    play(google, key_file, max_examples=250, stateful_step_count=25)
