"""Preparing a release of IEMOCAP: stored media, damaged files, interruptions, messages."""

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
import types
import wave
from pathlib import Path

import cv2
import numpy
import psutil
import pytest
import torch
from conftest import ROOT
from iemocap_corpus import CorpusConfig, write_corpus
from iemocap_faces import BAR, FRAME_RATE, HALF_WIDTH, LEFT_CAST, REDRAWN, film
from iemocap_plan import TICKS, plan_corpus
from test_iemocap_release import contents

from multimodal_fer.errors import ConfigError, DataError, MediaError, OutputError
from multimodal_fer.face.detection import crop_face, find_faces
from multimodal_fer.utils.process_pool import Died, run_in_processes
from multimodal_fer.voice.mfcc import mfcc
from multimodal_fer.voice.prosody import prosody
from recipes.iemocap.corpus.release import find_release, list_release
from recipes.iemocap.corpus.turns import read_all_turns
from recipes.iemocap.learning.config import read_settings
from recipes.iemocap.preparation import dialogs, speaker_faces
from recipes.iemocap.preparation.prepared import load_prepared
from recipes.iemocap.preparation.store import read_record
from recipes.iemocap.preparation.turn_sounds import is_truncated
from recipes.iemocap.prepare import Settings, locked, main, prepare

CONFIG = CorpusConfig(seconds=0.6)
HERE = Settings(workers=0, allow_partial=True)
SHORT, BARE = 1, 3  # numbers of the dialogs whose video ends early, and without one
PICTURE = float(1 / FRAME_RATE)


@pytest.fixture(scope="module")
def plan():
    return plan_corpus(CONFIG)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), CONFIG)


@pytest.fixture(scope="module")
def prepared(corpus, tmp_path_factory):
    """Prepare the corpus in this process, and check that nothing in it changes."""
    before = contents(corpus)
    done = prepare(corpus.parent, tmp_path_factory.mktemp("prepared"), HERE)
    assert contents(corpus) == before
    return done


def report_of(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def made(folder):
    """Return the content of all files that trainings read."""
    paths = [folder / "manifest.jsonl", *sorted((folder / "dialogs").glob("*.npz"))]
    return {path.name: path.read_bytes() for path in paths}


def stamps(folder):
    """Return inode and time of the dialogs' files, which change if a file is written again."""
    paths = (folder / "dialogs").glob("*.npz")
    return {path.stem: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def read_wav(path):
    with wave.open(str(path)) as file:
        return numpy.frombuffer(file.readframes(file.getnframes()), "<i2")


# --- stored media of a turn ---


def test_a_part_is_refused_with_a_table_and_nothing_is_written(corpus, tmp_path):
    with pytest.raises(DataError, match=r"published counts(.|\n)*turns +10,039 +40 +-9,999"):
        prepare(corpus, tmp_path / "prepared", Settings(workers=0))
    assert not (tmp_path / "prepared").exists()


def test_turns_come_as_planned(corpus, prepared, plan):
    assert prepared.turns == read_all_turns(list_release(corpus).dialogs)
    planned = {turn.name: turn for dialog in plan for turn in dialog.labelled}
    assert set(prepared.rows) == set(planned)
    for name, turn in planned.items():
        found = prepared.rows[name].turn
        assert (found.start, found.end) == (turn.start / TICKS, turn.end / TICKS)
        assert found.label == turn.emotion and found.speaker[-1] == turn.speaker
        assert prepared.words(name) == turn.text.encode("latin-1").decode("utf-8", "replace")
    lines = (prepared.folder / "manifest.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["id"] for line in lines[:-1]] == list(prepared.rows)


def test_sound_is_kept_as_it_is_and_features_as_computed(corpus, prepared):
    for name, row in prepared.rows.items():
        path = corpus / f"Session{row.turn.session}" / "sentences" / "wav" / row.turn.dialog
        samples = read_wav(path / f"{name}.wav")
        assert numpy.array_equal(prepared.samples(name), samples)
        assert numpy.array_equal(prepared.waveform(name), samples.astype("f4") / 32768)
    for name in list(prepared.rows)[::7]:
        waveform, lengths = torch.from_numpy(prepared.waveform(name)), prepared.samples(name).size
        found = mfcc(waveform[None], torch.tensor([lengths]))[0][0].numpy()
        assert prepared.mfcc(name) == pytest.approx(found, rel=2**-11, abs=1e-3)
        found = prosody(waveform[None], torch.tensor([lengths]))[0].numpy()
        assert prepared.prosody(name) == pytest.approx(found, rel=1e-4, abs=1e-4)


def drawn_at(time, step=0):
    """Return when the frame shown at a time was drawn, or one `step` drawings later."""
    number = round(time / PICTURE) // REDRAWN + step
    return number * REDRAWN * PICTURE


def drawn_face(dialog, speaker, seconds):
    """Draw the face of an actor and crop it as the preparation does."""
    image = film(dialog, speaker, seconds)
    if speaker == dialog.wearer:
        cast = numpy.round(numpy.arange(256)[:, None] * LEFT_CAST).astype(numpy.uint8)[None]
        image = cv2.LUT(image, cast).astype(numpy.uint8)
    return crop_face(image, find_faces(image).boxes[0], speaker_faces.CROP_SIZE).astype(float)


def test_faces_are_the_speakers_at_their_times(prepared, plan):
    own, other, later = [], [], []
    for dialog in plan:
        for turn in dialog.labelled:
            times, crops = prepared.crop_times(turn.name), prepared.crops(turn.name)
            if times is None:
                continue
            assert crops.shape == (len(times), 48, 48) and crops.dtype == numpy.uint8
            partner = "M" if turn.speaker == "F" else "F"
            seconds = drawn_at(times[0])
            for into, drawn in (
                (own, drawn_face(dialog, turn.speaker, seconds)),
                (other, drawn_face(dialog, partner, seconds)),
                (later, drawn_face(dialog, turn.speaker, drawn_at(times[0], step=2))),
            ):
                into.append(numpy.abs(crops[0] - drawn).mean())
    assert len(own) == 35
    assert max(own) < 15 < 25 < min(other)  # the detector's box moves by a pixel at times
    assert numpy.mean(own) < 0.8 * numpy.mean(later)


def test_pictures_are_five_a_second_by_their_own_timestamps(prepared):
    for name, row in prepared.rows.items():
        times = prepared.crop_times(name)
        if times is None:
            continue
        assert row.turn.start <= times[0] and times[-1] < row.turn.end
        frames = times / PICTURE
        assert frames == pytest.approx(numpy.round(frames), abs=0.01)
        late = times - numpy.floor((times + 1e-3) * 5) / 5
        assert late.max() < PICTURE and row.faces == row.frames == len(times)
        ticks = numpy.arange(numpy.ceil(row.turn.start * 5), numpy.ceil(row.turn.end * 5))
        assert abs(len(times) - len(ticks)) <= 1


def test_halves_are_cut_inside_the_black_bars():
    image = numpy.zeros((480, 720, 3), numpy.uint8)
    image[BAR:-BAR, :HALF_WIDTH], image[BAR:-BAR, HALF_WIDTH:] = 100, 200
    for side, value in (("left", 100), ("right", 200)):
        half = speaker_faces.speaker_half(image, side)
        assert half.shape == (240, 360, 3) and (half == value).all()
    with pytest.raises(MediaError, match=r"clip: expected 720x480 .* found 640x360"):
        speaker_faces.check_shape(Path("clip"), numpy.zeros((360, 640, 3), numpy.uint8))


def test_turns_without_a_picture_have_no_face_and_are_counted(prepared, plan):
    last = plan[SHORT].labelled[-1].name
    missing = {name: row.missing for name, row in prepared.rows.items() if row.missing}
    assert missing[last] == {"face": dialogs.AFTER_END}
    bare = {turn.name for turn in plan[BARE].labelled}
    assert set(missing) == {last} | bare
    for name in missing:
        assert not prepared.has(name, "face") and prepared.has(name, "voice")
        assert prepared.crops(name) is None and prepared.crop_times(name) is None
    report = report_of(prepared.folder)
    assert report["after_the_end_of_the_video"] == [last] and report["errors"] == []
    assert report["media"]["face"] == {
        "turns": 35,
        "missing": {dialogs.NO_VIDEO: 4, dialogs.AFTER_END: 1},
    }
    assert any(f"{plan[BARE].name}.avi: missing" in note for note in report["notes"])
    assert report["manifest_sha256"] == prepared.hash
    assert report["seconds_per_turn_and_worker"] > 0


def test_what_is_loaded_can_go_to_other_processes(prepared):
    name = next(iter(prepared.rows))
    again = pickle.loads(pickle.dumps(prepared))
    assert again.hash == prepared.hash and again.turns == prepared.turns
    assert numpy.array_equal(again.samples(name), prepared.samples(name))
    prepared.crops(name)[:] = 0  # a copy
    assert prepared.crops(name).any()


# --- interruptions and changes ---


def test_a_killed_command_goes_on_to_the_same_bytes(corpus, prepared, tmp_path):
    """Check that an interrupted preparation gives the bytes of an uninterrupted one."""
    words = [corpus, tmp_path, "workers=2", "allow_partial=1"]
    command = [sys.executable, "-m", "recipes.iemocap.prepare", *map(str, words)]
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    for line in process.stdout:
        if b"dialog 4/10" in line:
            break
    family = process.children(recursive=True)
    process.kill()
    _, alive = psutil.wait_procs([process, *family], timeout=10)
    assert not alive, "workers end with their parent"
    before = stamps(tmp_path)
    assert 4 <= len(before) < 10 and not (tmp_path / "manifest.jsonl").exists()
    with pytest.raises(DataError, match=r"manifest.jsonl: .* finish it, with python -m"):
        load_prepared(tmp_path)
    assert prepare(corpus, tmp_path, HERE).hash == prepared.hash
    assert made(tmp_path) == made(prepared.folder)
    assert before.items() <= stamps(tmp_path).items(), "finished dialogs are not prepared again"


@pytest.fixture
def small(corpus, tmp_path):
    """Copy two sessions of the corpus, to be damaged."""
    root = tmp_path / "release"
    for name in ("Session1", "Session2"):
        shutil.copytree(corpus / name, root / name)
    return root


def test_only_what_changed_is_made_again(small, tmp_path, monkeypatch):
    settings = Settings(workers=0, allow_partial=True, modalities=("voice", "text"))
    folder = tmp_path / "prepared"
    first = prepare(small, folder, settings)
    name = first.turns[0].id
    assert first.crops(name) is None and first.rows[name].media == ("voice", "text")
    before = stamps(folder)
    assert prepare(small, folder, settings).hash == first.hash and stamps(folder) == before

    sound = list_release(small, allow_partial=True).dialogs[0].sound(name)
    os.utime(sound, (1, 1))
    assert prepare(small, folder, settings).hash == first.hash
    changed = {dialog for dialog, stamp in stamps(folder).items() if before[dialog] != stamp}
    assert changed == {first.turns[0].dialog}

    before = stamps(folder)
    texts = prepare(
        small, folder, read_settings(Settings, ["workers=0", "allow_partial=1", "modalities=text"])
    )
    assert all(before[dialog] != stamp for dialog, stamp in stamps(folder).items())
    assert texts.hash != first.hash and texts.samples(name) is None and texts.words(name)

    before = stamps(folder)
    monkeypatch.setattr(dialogs, "FORMAT", dialogs.FORMAT + 1)
    prepare(small, folder, Settings(workers=0, allow_partial=True, modalities=("text",)))
    assert all(before[dialog] != stamp for dialog, stamp in stamps(folder).items())


# --- damaged files ---


def damage(small):
    """Damage files in several ways; return the dialogs."""
    release = list_release(small, allow_partial=True)
    cut, short, unreadable, bare = release.dialogs
    sounds = [bare.sound(turn.id) for turn in read_all_turns([bare])]
    sounds[0].write_bytes(bytes(2000))
    sounds[1].write_bytes(sounds[1].read_bytes()[: sounds[1].stat().st_size // 2])
    sounds[2].unlink()
    sounds[3].write_bytes(sounds[3].read_bytes() + bytes(16_000))  # harmless: after its end
    short.sound(read_all_turns([short])[0].id).write_bytes(b"")
    assert cut.video and unreadable.video
    cut.video.write_bytes(cut.video.read_bytes()[: cut.video.stat().st_size // 2])
    unreadable.video.write_bytes(bytes(50_000))
    return cut, short, unreadable, bare


def test_damaged_files_cost_their_turns_a_modality_and_are_named(small, corpus, prepared, tmp_path):
    folder = tmp_path / "prepared"
    cut, short, unreadable, bare = damage(small)
    before = contents(small)
    done = prepare(small, folder, HERE)
    assert contents(small) == before

    def reasons(dialog, modality):
        return [
            row.missing.get(modality)
            for row in done.rows.values()
            if row.turn.dialog == dialog.name
        ]

    assert reasons(bare, "voice") == [
        dialogs.DAMAGED_SOUND, dialogs.DAMAGED_SOUND, dialogs.NO_SOUND, None,
    ]  # fmt: skip
    assert reasons(short, "voice") == [dialogs.DAMAGED_SOUND, None, None, None]
    assert reasons(unreadable, "face") == [dialogs.DAMAGED_VIDEO] * 4
    assert reasons(cut, "face")[0] is None and reasons(cut, "face")[-1] == dialogs.AFTER_END
    errors = "\n".join(report_of(folder)["errors"])
    assert cut.video and is_truncated(cut.video)
    assert f"{cut.video}: incomplete, frames end at" in errors
    assert f"{unreadable.video}: expected a video" in errors and errors.count("\n") == 5
    lost = [bare.sound(turn.id) for turn in read_all_turns([bare])][2]
    assert f"{lost}: missing, although {bare.whole_sound} exists; 1 of 4 turns" in errors
    whole = [name for name, row in done.rows.items() if row.media == prepared.rows[name].media]
    assert len(whole) > 5
    for name in set(whole) - {turn.id for turn in read_all_turns([cut])}:
        assert done.rows[name].digest == prepared.rows[name].digest

    before = stamps(folder)
    prepare(small, folder, HERE)  # unreadable files are tried again
    again = {dialog for dialog, stamp in stamps(folder).items() if before[dialog] != stamp}
    assert again == {short.name, unreadable.name, bare.name}

    for path in (
        path for path in corpus.glob("Session[12]/**/*.*") if path.suffix in (".wav", ".avi")
    ):
        shutil.copy2(path, small / path.relative_to(corpus))
    repaired = prepare(small, folder, HERE)
    for name, row in repaired.rows.items():
        assert row == prepared.rows[name]
    assert report_of(folder)["errors"] == []


def test_what_decoders_say_of_damage_is_reported_whatever_it_is(small, tmp_path, monkeypatch):
    def fail(*_):
        raise IndexError("out of range")

    monkeypatch.setattr(dialogs, "find_speaker_faces", fail)
    monkeypatch.setattr(dialogs, "read_samples", fail)
    done = prepare(small, tmp_path / "prepared", HERE)
    assert {row.media for row in done.rows.values()} == {("text",)}
    errors = report_of(tmp_path / "prepared")["errors"]
    assert all("cannot be read (IndexError: out of range); copy it again" in row for row in errors)
    assert len(errors) == 16 + 3


def test_sounds_of_another_length_are_taken_and_noted(small, tmp_path):
    dialog = list_release(small, allow_partial=True).dialogs[0]
    turns = read_all_turns([dialog])
    paths = [dialog.sound(turn.id) for turn in turns]
    for path, seconds in ((paths[0], 0.1), (paths[1], 9.0)):
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(bytes(2 * round(seconds * 16_000)))
    done = prepare(small, tmp_path / "prepared", Settings(0, True, ("voice",)))
    short, long = (done.samples(turn.id) for turn in turns[:2])
    assert short is not None and len(short) == 1_600
    assert long is not None and len(long) == round((turns[1].duration + 5) * 16_000)
    notes = "\n".join(report_of(tmp_path / "prepared")["notes"])
    assert f"{paths[0]}: lasts 0.10 s, its turn" in notes
    assert f"{paths[1]}: lasts over 6 s, its turn" in notes


def test_a_process_that_dies_costs_its_dialog_only(small, tmp_path):
    dialog = list_release(small, allow_partial=True).dialogs[0]
    job = dialogs.make_job(dialog, read_all_turns([dialog]), ("face", "voice", "text"), tmp_path)
    (tmp_path / "dialogs").mkdir()
    record = dialogs.give_up_dialog(job, "exit code -9").record
    assert all(row["media"] == ["text"] for row in record.rows)
    assert record == read_record(job.path) and "exit code -9" in record.errors[0]
    assert dialogs.finished_record(job) is None, "the next run tries again"


# --- wrong settings, full disks ---


def test_wrong_settings_are_reported():
    assert read_settings(Settings, ["modalities=text,face", "workers=3"]) == Settings(
        3, False, ("face", "text")
    )
    assert read_settings(Settings, ["allow_partial=true"]).workers >= 1
    for word, expected in (
        ("worker=2", "unknown setting 'worker=2'; known: workers="),
        ("2", "unknown setting '2'"),
        ("workers=two", "workers: expected a number"),
        ("allow_partial=maybe", "allow_partial: expected 1 or 0"),
        ("modalities=face,words", "modalities: expected some of face,voice,text"),
        ("modalities=", "modalities: expected some of"),
    ):
        with pytest.raises(ConfigError, match=expected):
            read_settings(Settings, [word])


def test_places_that_will_not_do_are_reported(corpus, tmp_path):
    with pytest.raises(OutputError, match="lies inside the IEMOCAP release"):
        prepare(corpus, corpus / "runs", HERE)
    with pytest.raises(DataError, match="nowhere: not found"):
        main(str(tmp_path / "nowhere"), str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OutputError, match=r"file.*: cannot be written \((Not a directory|File exists)"
    ):
        prepare(corpus, tmp_path / "file", HERE)
    (tmp_path / "taken").mkdir()
    with (
        locked(tmp_path / "taken"),
        pytest.raises(OutputError, match=r"another python -m .* is running there"),
    ):
        prepare(corpus, tmp_path / "taken", HERE)


def test_a_full_disk_is_reported_and_what_was_finished_is_kept(small, tmp_path, monkeypatch):
    settings = Settings(workers=0, allow_partial=True, modalities=("text",))
    folder, save, written = tmp_path / "prepared", numpy.savez, []

    def save_two(file, **arrays):
        written.append(file)
        if len(written) > 2:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(file, **arrays)

    monkeypatch.setattr(numpy, "savez", save_two)
    with pytest.raises(
        OutputError, match=r"npz: cannot be written \(No space left.*free some space"
    ):
        prepare(small, folder, settings)
    assert len(list((folder / "dialogs").iterdir())) == 2, "no half file is left"
    monkeypatch.undo()
    assert len(prepare(small, folder, settings).turns) == 16 and len(written) == 3


def test_ctrl_c_says_how_to_go_on(small, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(dialogs, "_store", interrupt)
    with pytest.raises(SystemExit, match="the same command continues"):
        main(str(small), str(tmp_path / "p"), "workers=0", "allow_partial=1", "modalities=text")


def test_a_prepared_folder_that_is_not_whole_is_reported(small, tmp_path):
    settings = Settings(workers=0, allow_partial=True, modalities=("voice",))
    folder = tmp_path / "prepared"
    name = prepare(small, folder, settings).turns[0].id
    path, other = sorted((folder / "dialogs").glob("*.npz"))[:2]
    whole = path.read_bytes()
    for content, expected in (
        (whole[:-200], "cannot be read"),
        (b"", "cannot be read"),
        (other.read_bytes(), "differs from the dialog in manifest.jsonl"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{path.name}: {expected}.* again"):
            load_prepared(folder).samples(name)
    path.write_bytes(whole[:-200])
    assert prepare(small, folder, settings).samples(name) is not None and path.read_bytes() == whole
    (folder / "manifest.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"manifest.jsonl: cannot be read"):
        load_prepared(folder)


# --- processes ---


def test_jobs_are_done_by_processes():
    assert dict(run_in_processes(abs, [-1, -2, -3], 2)) == {-1: 1, -2: 2, -3: 3}
    assert list(run_in_processes(abs, [], 2)) == []


def test_a_dead_process_is_reported_of_its_job_and_the_others_go_on():
    deadly = "__import__('os')._exit(5)"
    results = dict(run_in_processes(eval, ["1 + 1", deadly, "2 + 2"], 1))
    assert results == {"1 + 1": 2, "2 + 2": 4, deadly: Died("exit code 5")}


def test_errors_in_processes_arise_here():
    with pytest.raises(DataError, match="nowhere: not found"):
        list(run_in_processes(find_release, ["nowhere"], 1))
    with pytest.raises(RuntimeError, match=r"in a worker process:(.|\n)*ZeroDivisionError"):
        list(run_in_processes(eval, ["1 / 0"], 1))


def test_processes_that_cannot_start_are_an_error_not_a_loop(monkeypatch, capfd):
    module = types.ModuleType("not_there")
    exec("def work(job): return job", module.__dict__)
    monkeypatch.setitem(sys.modules, "not_there", module)
    started = time.monotonic()
    with pytest.raises(Exception, match="before it was ready"):
        list(run_in_processes(module.work, [1], 1))
    assert time.monotonic() - started < 20 and "not_there" in capfd.readouterr().err
