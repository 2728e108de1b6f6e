# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
import os

import pytest

from daemon import INI, Daemon


@pytest.fixture
def start(tmp_path):
    """start(q35d='key = value lines', ...): a daemon over the scripted engine."""
    running = []

    def begin(q35d='', context=4096, sequences=4, backend='', level='info', **options):
        folder = tmp_path / str(len(running))
        folder.mkdir()
        ini = INI.format(q35d=q35d, context=context, sequences=sequences, backend=backend,
                         level=level)
        running.append(Daemon(folder, os.environ['Q35D_FAKE'], ini, **options))
        return running[-1]

    yield begin
    for d in running:
        d.kill()


@pytest.fixture(scope='module')
def fake(tmp_path_factory):
    """One daemon for all tests of a file; it must be whole and idle at the end."""
    ini = INI.format(q35d='', context=4096, sequences=4, backend='', level='info')
    d = Daemon(tmp_path_factory.mktemp('fake'), os.environ['Q35D_FAKE'], ini)
    yield d
    try:
        assert d.stop() == 0
    finally:
        d.kill()
