"""Names of files by known truth: which of them are excerpts of one recording, in the naming schemes of many programs."""

import random
from collections import defaultdict
from datetime import datetime, timedelta

Files = list[tuple[str, str, str]]
"""Scene, path below the corpus, and the recording that it is a part of."""

SCENES = ("park", "street", "tram")


def _esc50(rng: random.Random) -> Files:
    rows = []
    for target, scene in enumerate(SCENES):
        for number in rng.sample(range(1_000, 260_000), 24):
            takes = "ABCD"[: rng.choice([1, 1, 2, 3])]
            rows += [(scene, f"{scene}/{number % 5 + 1}-{number}-{take}-{target}.wav", str(number)) for take in takes]
    return rows


def _urbansound(rng: random.Random) -> Files:
    rows = []
    for target, scene in enumerate(SCENES):
        for number in rng.sample(range(1_000, 210_000), 15):
            for event in range(rng.choice([1, 2])):
                rows += [
                    (scene, f"{scene}/{number}-{target}-{event}-{k}.wav", str(number)) for k in range(rng.randint(1, 6))
                ]
    return rows


def _freesound(rng: random.Random) -> Files:
    rows = []
    titles = ("forest_morning", "city-walk", "rain on roof", "tram_7_ride")
    for scene in SCENES:
        for number in rng.sample(range(10_000, 800_000), 14):
            separator, title = rng.choice(["_", "__"]), rng.choice(titles)
            name = f"{number}{separator}user{number % 7}{separator}{title}"
            n = rng.randint(1, 4)
            rows += [(scene, f"{scene}/{name}_part{k + 1}.wav" if n > 1 else f"{scene}/{name}.wav", name) for k in range(n)]
    return rows


def _tau(rng: random.Random, pieces: bool) -> Files:
    rows = []
    for scene in SCENES:
        for city in ("lisbon", "paris", "vienna"):
            for place in rng.sample(range(300), 4):
                for segment in range(rng.randint(2, 5)):
                    for device in rng.sample(["a", "b", "c", "s1"], 2):
                        for piece in range(3) if pieces else [0]:
                            middle = f"{segment}-{piece}" if pieces else f"{segment}"
                            name = f"{scene}-{city}-{place}-{middle}-{device}"
                            rows.append((scene, f"{scene}/{name}.wav", f"{scene}-{city}-{place}"))
    return rows


def _letters(rng: random.Random) -> Files:
    rows = []
    for scene in SCENES:
        for number in range(1, 21):
            rows += [(scene, f"{scene}/{scene}_{number:02}_{'abcd'[k]}.wav", str(number)) for k in range(rng.randint(1, 4))]
    return rows


def _two_numbers(rng: random.Random) -> Files:
    rows = []
    for scene in SCENES:
        for number in range(20):
            name = f"{scene}/{scene}_walk_{number:04}"
            rows += [(scene, f"{name}_{k}.flac", str(number)) for k in range(rng.randint(1, 3))]
    return rows


def _running(rng: random.Random) -> Files:
    return [(scene, f"{scene}/{scene}_{n:02}.wav", str(n)) for scene in SCENES for n in range(1, rng.randint(60, 100))]


def _bare(rng: random.Random) -> Files:
    return [(scene, f"{scene}/{n:04}.wav", str(n)) for scene in SCENES for n in range(1, rng.randint(30, 60))]


def _hashes(rng: random.Random) -> Files:
    names = [(scene, f"{rng.getrandbits(64):016x}") for scene in SCENES for _ in range(60)]
    return [(scene, f"{scene}/{name}.wav", name) for scene, name in names]


def _phone(rng: random.Random) -> Files:
    """An outing a day: takes some minutes apart."""
    rows = []
    for scene in SCENES:
        for day in rng.sample(range(300), 12):
            time = datetime(2024, 1, 1, 8, 15, 2) + timedelta(days=day, minutes=rng.randrange(500))
            for _ in range(rng.randint(1, 5)):
                rows.append((scene, f"{scene}/{time:%Y%m%d_%H%M%S}.wav", str(day)))
                time += timedelta(minutes=rng.randint(2, 25))
    return rows


def _audiomoth(rng: random.Random) -> Files:
    """Nights from 21:00 to 3:00, a file in ten minutes, three recorders with their numbers."""
    rows = []
    for scene in SCENES:
        for recorder in ("24F31904", "2490AB12"):
            for night in rng.sample(range(100), 5):
                start = datetime(2023, 5, 1, 21) + timedelta(days=2 * night)
                for k in range(36):
                    time = start + timedelta(minutes=10 * k)
                    rows.append((scene, f"{scene}/{recorder}_{time:%Y%m%d_%H%M%S}.WAV", f"{recorder} {night}"))
    return rows


def _dates_apart(rng: random.Random) -> Files:
    """One recording a day."""
    rows = []
    for scene in SCENES:
        for day in rng.sample(range(300), 40):
            time = datetime(2024, 1, 1) + timedelta(days=day, minutes=rng.randrange(1440))
            rows.append((scene, f"{scene}/{time:%Y-%m-%d %H.%M.%S}.wav", str(time)))
    return rows


def _zoom(rng: random.Random) -> Files:
    rows = []
    for scene in SCENES:
        for n in range(1, 19):
            tracks = rng.choice([("Tr1", "Tr2"), ("LR",), ("Tr1", "Tr2", "Tr3", "LR")])
            rows += [(scene, f"{scene}/ZOOM{n:04}_{track}.WAV", str(n)) for track in tracks]
    return rows


def _copies(rng: random.Random) -> Files:
    rows = []
    for scene in SCENES:
        for n in range(1, 16):
            forms = rng.choice([[""], ["", " (2)"], ["", " (2)", " (3)"], ["", " - Copy"]])
            rows += [(scene, f"{scene}/rec{n}{form}.wav", str(n)) for form in forms]
    return rows


def _words(rng: random.Random) -> Files:
    places = ("old mill", "harbour", "Dresden", "king street", "lake side", "fair", "bridge", "north gate")
    rows = []
    for scene in SCENES:
        for place in places:
            rows += [(scene, f"{scene}/{place} {k + 1}.mp3", place) for k in range(rng.randint(1, 6))]
    return rows


def _spans(rng: random.Random) -> Files:
    rows = []
    for scene in SCENES:
        for n in range(12):
            name = "".join(rng.choices("abcdefghijkmnop", k=8)) + str(n)
            rows += [(scene, f"{scene}/{name}_{10 * k}_{10 * k + 10}.wav", name) for k in range(rng.randint(1, 6))]
    return rows


def _folders(rng: random.Random) -> Files:
    """Sessions are folders, and numbers begin again in each."""
    rows = []
    for scene in SCENES:
        for session in range(8):
            rows += [(scene, f"{scene}/session {session}/{k:03}.wav", str(session)) for k in range(rng.randint(2, 6))]
    return rows


def _two_places(rng: random.Random) -> Files:
    """Only two recordings a scene, each cut into many: to join them would leave nothing to test on."""
    return [(scene, f"{scene}/rec{n}_{k:02}.wav", str(n)) for scene in SCENES for n in (1, 2) for k in range(20)]


def _cities(rng: random.Random) -> Files:
    """Independent recordings numbered by city: their names cannot be told from excerpts of one recording a city."""
    cities = ("oslo", "rome", "bern", "kyiv", "lima", "doha")
    return [(scene, f"{scene}/{city}_{k:02}.wav", f"{city} {k}") for scene in SCENES for city in cities for k in range(9)]


def _site_visit(rng: random.Random) -> Files:
    rows = []
    for scene in SCENES:
        for site in range(1, 4):
            for visit in range(1, 5):
                name = f"{scene}/S{site:02}-V{visit}"
                rows += [(scene, f"{name}-{k:03}.wav", f"{site} {visit}") for k in range(rng.randint(1, 5))]
    return rows


def _song_meter(rng: random.Random) -> Files:
    """A file an hour, day and night, for four weeks: one recorder, no pause."""
    start = datetime(2021, 5, 4)
    hours = [start + timedelta(hours=k) for k in range(0, 24 * 28)]
    return [("park", f"park/S4A03895_{time:%Y%m%d_%H%M%S}.wav", f"{time:%Y%m%d}") for time in hours]


def _tascam(rng: random.Random) -> Files:
    return [(scene, f"{scene}/DR0000_{rng.randrange(1, 9) * 100 + k:04}.wav", str(k)) for scene in SCENES for k in range(50)]


def _augmented(rng: random.Random) -> Files:
    rows = []
    for scene in SCENES:
        for n in range(14):
            forms = ["", "_aug1", "_aug2"][: rng.randint(1, 3)]
            rows += [(scene, f"{scene}/vid{n:03}_clip_{k}{a}.wav", str(n)) for k in range(rng.randint(1, 3)) for a in forms]
    return rows


def _messenger(rng: random.Random) -> Files:
    rows = []
    for scene in SCENES:
        for day in rng.sample(range(300), 15):
            time = datetime(2024, 1, 1, 12) + timedelta(days=day)
            name = f"{scene}/WhatsApp Audio {time:%Y-%m-%d} at {time:%H.%M.%S}"
            rows += [(scene, f"{name}{again}.opus", str(day)) for again in ["", " (1)"][: rng.randint(1, 2)]]
    return rows


def _voice_memos(rng: random.Random) -> Files:
    return [(scene, f"{scene}/Recording ({k}).m4a", str(k)) for scene in SCENES for k in range(1, 40)]


SCHEMES = {
    "street_01_a": _letters,
    "park_walk_0003_0": _two_numbers,
    "street-paris-12-3-a (TAU 2020)": lambda rng: _tau(rng, False),
    "street-paris-12-3-0-a (TAU 2022)": lambda rng: _tau(rng, True),
    "1-100032-A-0 (ESC-50)": _esc50,
    "100032-3-0-0 (UrbanSound8K)": _urbansound,
    "123456_user_title_part2 (Freesound)": _freesound,
    "20240131_101500 (phone, takes of an outing)": _phone,
    "2024-01-31 10.15.00 (one a day)": _dates_apart,
    "24F31904_20240131_210000 (AudioMoth, nights)": _audiomoth,
    "ZOOM0001_Tr1 (Zoom)": _zoom,
    "rec1 (2)": _copies,
    "old mill 1": _words,
    "id_30_40 (start and end)": _spans,
    "session 3/001": _folders,
    "street_01 (each its own)": _running,
    "0001 (each its own)": _bare,
    "9f86d081884c7d65 (each its own)": _hashes,
    "rec1_01 (two recordings a scene)": _two_places,
    "oslo_01 (each its own)": _cities,
    "S01-V2-003 (sites and visits)": _site_visit,
    "S4A03895_20210504_050000 (Song Meter, hourly)": _song_meter,
    "DR0000_0345 (Tascam, each its own)": _tascam,
    "vid003_clip_2_aug1": _augmented,
    "WhatsApp Audio 2024-01-31 at 10.15.00 (1)": _messenger,
    "Recording (12) (each its own)": _voice_memos,
}


def files_of(scheme: str, seed: int = 0) -> Files:
    """Files of a scheme in random order."""
    rng = random.Random(seed)
    rows = SCHEMES[scheme](rng)
    rng.shuffle(rows)
    return rows


def pair_scores(truth: list[str], found: list[str]) -> tuple[float, float, int]:
    """Precision and recall of the pairs of files that are joined, and how many pairs there are; 1 where none is."""

    def pairs(labels: list) -> int:
        counts: dict = defaultdict(int)
        for label in labels:
            counts[label] += 1
        return sum(n * (n - 1) // 2 for n in counts.values())

    both = pairs(list(zip(truth, found, strict=True)))
    joined, right = pairs(found), pairs(truth)
    return (both / joined if joined else 1.0, both / right if right else 1.0, right)
