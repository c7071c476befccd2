"""Ten scenes as sound: each function returns the sound of its scene at unit RMS, before background, room and device.

Frequencies and rates are drawn anew for every recording from wide, overlapping ranges: what tells scenes apart is the
shape of the events and their order in time, within two seconds, and hardly the average spectrum.
"""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Float32
from scipy import fft

from soundscene.render.textures import (
    Take,
    clicks,
    coloured_noise,
    poisson_times,
    regular_times,
    ringing,
    scatter,
    slow_curve,
    sweeps,
    unit_rms,
)
from soundscene.types import Samples


def rain(take: Take) -> Samples:
    """Dense drops: hundreds of short clicks a second with a wide spread of sizes, and a few that ring."""
    draw = take.generator
    drops = poisson_times(take, take.log_uniform_one(120.0, 500.0))
    size = draw.lognormal(0, 0.8, drops.size)
    hz = take.log_uniform_one(900.0, 4000.0) * draw.lognormal(0, 0.6, drops.size)
    patter = scatter(take, drops, ringing(take, hz, draw.uniform(0.0005, 0.002, drops.size), size))
    big = poisson_times(take, take.log_uniform_one(4.0, 15.0))
    plinks = ringing(
        take, take.log_uniform(500.0, 3000.0, big.size), take.log_uniform(0.003, 0.01, big.size), np.ones(big.size)
    )
    hiss = coloured_noise(take, 800.0, 9000.0)
    return unit_rms(
        unit_rms(patter) + draw.uniform(0.1, 0.4) * hiss + draw.uniform(0.2, 0.5) * unit_rms(scatter(take, big, plinks))
    )


def wind(take: Take) -> Samples:
    """Gusts: band noise that swells and brightens together, with the flutter of turbulence and a faint whistle."""
    draw = take.generator
    gust = np.exp(0.6 * slow_curve(take, draw.uniform(0.5, 1.0)) + 0.35 * slow_curve(take, draw.uniform(4, 8)))
    low = take.log_uniform_one(60.0, 300.0)
    body = coloured_noise(take, low, 4 * low) * gust
    # a stronger gust is a brighter one: higher bands follow a higher power of the same curve
    edge = coloured_noise(take, 4 * low, 16 * low) * gust**2
    whistle_hz = take.log_uniform_one(400.0, 1800.0) * np.exp(0.12 * slow_curve(take, 2.0) + 0.15 * np.log(gust))
    phase = np.cumsum(whistle_hz, dtype=np.float64) * (2 * np.pi / take.sample_rate)
    rough = np.abs(slow_curve(take, 40.0))
    whistle = np.sin(phase).astype(np.float32) * gust**2 * rough
    return unit_rms(unit_rms(body) + draw.uniform(0.3, 1.0) * unit_rms(edge) + draw.uniform(0.15, 0.5) * unit_rms(whistle))


def sea(take: Take) -> Samples:
    """Waves every 6 to 12 s: a rumble that rises, breaks into a hiss climbing in pitch, and foam that fizzes out."""
    draw = take.generator
    period_s, start = draw.uniform(6, 12), draw.random()
    wander = 0.05 * slow_curve(take, 0.3)  # no two waves alike
    phase = (np.arange(take.n_samples) / (take.sample_rate * period_s) + start + wander).astype(np.float32)

    def bump(centre: float, rise: float, fall: float) -> Samples:
        """Envelope of one part of the wave: where in the period it peaks, how it comes and goes."""
        distance = (phase - np.float32(centre) + np.float32(0.5)) % 1 - np.float32(0.5)
        return np.exp(np.where(distance < 0, distance / np.float32(rise), -distance / np.float32(fall)))

    low = take.log_uniform_one(100.0, 350.0)
    swell = coloured_noise(take, low, 4 * low) * bump(0.40, 0.15, 0.08)
    crash = coloured_noise(take, 4 * low, 12 * low) * bump(0.48, 0.07, 0.14)
    wash = coloured_noise(take, 10 * low, 32 * low) * bump(0.62, 0.10, 0.18)
    bubbles = poisson_times(take, take.log_uniform_one(60.0, 150.0))
    loud = bump(0.75, 0.14, 0.25)[(bubbles * take.sample_rate).astype(np.int64)] * draw.lognormal(0, 0.6, bubbles.size)
    fizz = ringing(take, take.log_uniform(1500.0, 7000.0, bubbles.size), draw.uniform(0.002, 0.006, bubbles.size), loud)
    foam = unit_rms(scatter(take, bubbles, fizz))
    return unit_rms(unit_rms(swell) + unit_rms(crash) + 0.8 * unit_rms(wash) + draw.uniform(0.3, 0.8) * foam)


def fire(take: Take) -> Samples:
    """Sparse crackles of very different strength, in clusters, over a flickering low roar."""
    draw = take.generator
    seeds = poisson_times(take, take.log_uniform_one(2.0, 5.0))
    each = draw.geometric(0.4, seeds.size)  # one snap often sets off others
    times = np.repeat(seeds, each)
    times = np.minimum(times + draw.exponential(0.06, times.size) * (draw.random(times.size) < 0.7), take.duration_s)
    strength = np.minimum(draw.pareto(1.8, times.size) + 0.3, 8)
    snaps = scatter(take, times, clicks(take, take.log_uniform(0.0008, 0.006, times.size), strength))
    pops = scatter(
        take,
        times,
        ringing(take, take.log_uniform(300.0, 2500.0, times.size), take.log_uniform(0.002, 0.01, times.size), strength),
    )
    flicker = np.exp(0.4 * slow_curve(take, draw.uniform(6, 12)))
    roar = coloured_noise(take, 40.0, take.log_uniform_one(150.0, 500.0), -3.0) * flicker
    return unit_rms(unit_rms(snaps + pops) + draw.uniform(0.4, 1.0) * unit_rms(roar))


def forest_birds(take: Take) -> Samples:
    """Songs: each bird repeats a phrase of a few gliding syllables; rustling leaves underneath."""
    draw = take.generator
    total = 0.1 * coloured_noise(take, 1000.0, 6000.0) * np.exp(0.5 * slow_curve(take, 1.0))
    for _ in range(int(draw.integers(2, 4))):
        n_syllables = int(draw.integers(2, 7))
        centre = take.log_uniform_one(1200.0, 5500.0)
        start, end = centre * draw.uniform(0.75, 1.35, n_syllables), centre * draw.uniform(0.75, 1.35, n_syllables)
        length, bend = draw.uniform(0.05, 0.18, n_syllables), draw.uniform(-0.2, 0.2, n_syllables)
        offset = np.concatenate([[0.0], np.cumsum(length + draw.uniform(0.01, 0.08, n_syllables))])
        phrases = regular_times(take, offset[-1] + take.log_uniform_one(0.3, 1.2), 0.1)
        onset = (phrases[:, None] + offset[:-1]).ravel()
        again = phrases.size
        grains = sweeps(take, np.tile(start, again), np.tile(end, again), np.tile(length, again), np.tile(bend, again))
        total += draw.uniform(0.3, 1.0) * scatter(take, onset, grains)
    return unit_rms(total)


def night_crickets(take: Take) -> Samples:
    """Narrow-band pulse trains: each insect on its own pitch, grouped into chirps or trilling on."""
    draw = take.generator
    total = np.zeros(take.n_samples, np.float32)
    carrier = take.log_uniform_one(1500.0, 6500.0)
    for _ in range(int(draw.integers(1, 4))):
        pulse_s = 1 / take.log_uniform_one(14.0, 40.0)
        times = regular_times(take, pulse_s, 0.03)
        if draw.random() < 0.7:  # chirps: a few pulses, then a rest
            n_pulses, rest_s = int(draw.integers(3, 9)), draw.uniform(0.12, 0.5)
            start_s = draw.uniform(0, 1)
            times = times[(times + start_s) % (n_pulses * pulse_s + rest_s) < n_pulses * pulse_s]
        hz = carrier * draw.uniform(0.94, 1.06) * np.ones(times.size)
        length = 0.7 * pulse_s * np.ones(times.size)
        total += draw.uniform(0.3, 1.0) * scatter(take, times, sweeps(take, hz, 0.985 * hz, length, 0 * hz))
    return unit_rms(total)


def road_traffic(take: Take) -> Samples:
    """Cars passing: noise that swells as 1/distance squared, brightest when nearest, and an engine falling in pitch."""
    draw = take.generator
    total = np.zeros(take.n_samples, np.float32)
    seconds = np.arange(take.n_samples, dtype=np.float32) / np.float32(take.sample_rate)
    tyres = coloured_noise(take, take.log_uniform_one(200.0, 500.0), take.log_uniform_one(900.0, 2000.0))
    hiss = coloured_noise(take, 1500.0, 6000.0)
    passes = regular_times(take, take.log_uniform_one(1.8, 4.0), 0.25)
    for nearest_s in passes:
        x = (seconds - np.float32(nearest_s)) / np.float32(
            draw.uniform(0.4, 1.2)
        )  # distance along the road, 1 = to the kerb
        near = 1 / (1 + x * x)
        shift = 1 - draw.uniform(0.03, 0.08) * x * np.sqrt(near)  # Doppler: speed over speed of sound
        cycle = np.cumsum(shift, dtype=np.float64) * (take.log_uniform_one(70.0, 220.0) / take.sample_rate) % 1
        engine = (2 * cycle - 1).astype(np.float32)  # a saw tooth: all harmonics
        car = tyres * near + draw.uniform(0.2, 0.8) * hiss * near * near + draw.uniform(0.5, 1.5) * engine * near
        total += np.float32(draw.uniform(0.4, 1.0)) * car
    return unit_rms(total)


def train_interior(take: Take) -> Samples:
    """Rail joints: pairs of dull clacks in a fixed rhythm, over rumble and the whine of the motor."""
    draw = take.generator
    joint_s, axle_s = draw.uniform(0.5, 1.1), draw.uniform(0.1, 0.2)
    first = regular_times(take, joint_s, 0.01)
    times = np.concatenate([first, first + axle_s])
    times = times[times < take.duration_s]
    strength = draw.uniform(0.7, 1.3, times.size)
    body_hz = take.log_uniform_one(90.0, 500.0)
    thud = ringing(take, body_hz * draw.uniform(0.9, 1.1, times.size), draw.uniform(0.015, 0.035, times.size), strength)
    knock = clicks(take, draw.uniform(0.004, 0.012, times.size), strength)
    clacks = scatter(take, times, thud) + draw.uniform(0.3, 1.0) * scatter(take, times, knock)
    rumble = coloured_noise(take, 40.0, take.log_uniform_one(150.0, 600.0), -3.0) * np.exp(0.2 * slow_curve(take, 3.0))
    whine_hz = take.log_uniform_one(250.0, 1500.0) * np.exp(0.03 * slow_curve(take, 0.2))
    phase = np.cumsum(whine_hz, dtype=np.float64) * (2 * np.pi / take.sample_rate)
    whine = (np.sin(phase) + 0.5 * np.sin(2 * phase)).astype(np.float32)
    return unit_rms(unit_rms(clacks) + draw.uniform(0.4, 1.0) * rumble + draw.uniform(0.02, 0.2) * unit_rms(whine))


def cafe_babble(take: Take) -> Samples:
    """Several talkers, four to five voiced syllables a second each, and the clink of cups."""
    draw = take.generator
    total = np.zeros(take.n_samples, np.float32)
    for _ in range(int(draw.integers(3, 6))):
        pace = 1 / draw.uniform(3.8, 5.2)
        times = regular_times(take, pace, 0.12)
        pausing = slow_curve(take, 0.7)[(times * take.sample_rate).astype(np.int64)] < -0.7
        times = times[~pausing]
        if times.size:
            pitch = take.log_uniform_one(90.0, 260.0) * np.exp(draw.normal(0, 0.12, times.size))
            total += draw.uniform(0.4, 1.0) * scatter(take, times, _syllables(take, pitch))
    cups = poisson_times(take, draw.uniform(0.5, 1.5))
    partials = take.log_uniform_one(1800.0, 4000.0) * draw.uniform(1.0, 2.5, (3, cups.size))
    for hz in partials:
        decay = draw.uniform(0.03, 0.12, cups.size)
        total += 0.15 * scatter(take, cups, ringing(take, hz, decay, draw.uniform(0.1, 1.0, cups.size)))
    return unit_rms(total)


def _syllables(take: Take, pitch_hz: Float[np.ndarray, " event"]) -> Float32[np.ndarray, "event grain"]:
    """Voiced syllables: a gliding saw tooth through three random formants, 90 to 180 ms long."""
    draw, count = take.generator, pitch_hz.size
    n_grain = int(0.18 * take.sample_rate)
    part = np.arange(n_grain) / n_grain
    glide = pitch_hz[:, None] * (1 + draw.uniform(-0.15, 0.1, count)[:, None] * part)
    voice = (np.cumsum(glide, axis=1) / take.sample_rate % 1 - 0.5).astype(np.float32)
    hz = fft.rfftfreq(n_grain, 1 / take.sample_rate).astype(np.float32)
    formants = np.stack([draw.uniform(280, 850, count), draw.uniform(900, 2300, count), draw.uniform(2300, 3200, count)])
    gain = sum(
        level / (1 + ((hz - formant[:, None]) / width) ** 2)
        for formant, level, width in zip(formants.astype(np.float32), (1.0, 0.7, 0.4), (60, 90, 140), strict=True)
    )
    shaped = np.asarray(fft.irfft(np.asarray(fft.rfft(voice)) * gain, n_grain))
    length = draw.uniform(0.5, 1.0, count)[:, None]
    envelope = np.sin(np.pi * np.minimum(part / length, 1)) ** 0.7
    return (shaped * envelope).astype(np.float32)


def office(take: Take) -> Samples:
    """Typing in bursts, key down and key up, over a steady fan; sometimes a telephone or a creaking chair."""
    draw = take.generator
    keys = regular_times(take, 1 / draw.uniform(5, 9), 0.25)
    keys = keys[slow_curve(take, 1.3)[(keys * take.sample_rate).astype(np.int64)] > -0.6]
    keys = keys if keys.size else np.array([take.duration_s / 2])
    both = np.concatenate([keys, keys + draw.uniform(0.05, 0.09, keys.size)])  # down, then up and softer
    loud = np.concatenate([draw.uniform(0.6, 1.3, keys.size), draw.uniform(0.2, 0.5, keys.size)])
    case_hz = take.log_uniform_one(700.0, 3000.0) * draw.uniform(0.93, 1.07, both.size)  # one keyboard
    strike = scatter(take, both, clicks(take, draw.uniform(0.001, 0.003, both.size), loud))
    strike += scatter(take, both, ringing(take, case_hz, draw.uniform(0.003, 0.008, both.size), loud))
    fan = coloured_noise(take, 80.0, take.log_uniform_one(300.0, 1500.0), -3.0)
    total = unit_rms(strike) + draw.uniform(0.3, 0.9) * fan
    if draw.random() < 0.3:
        total += draw.uniform(0.1, 0.4) * _telephone(take)
    if draw.random() < 0.4:
        creaks = poisson_times(take, 0.15)
        hz = take.log_uniform(250.0, 900.0, creaks.size)
        total += 0.5 * scatter(
            take, creaks, sweeps(take, hz, 1.4 * hz, np.full(creaks.size, 0.35), np.full(creaks.size, 0.2))
        )
    return unit_rms(total)


def _telephone(take: Take) -> Samples:
    """One ring of about a second: two tones that alternate 20 times a second."""
    draw = take.generator
    start_s, seconds = draw.uniform(0, take.duration_s), np.arange(take.n_samples) / take.sample_rate
    hz = take.log_uniform_one(700.0, 2000.0)
    warble = np.where(seconds * 20 % 1 < 0.5, np.sin(2 * np.pi * hz * seconds), np.sin(2 * np.pi * 1.25 * hz * seconds))
    return (warble * ((seconds > start_s) & (seconds < start_s + 1.0))).astype(np.float32)


SCENES: MappingProxyType[str, Callable[[Take], Samples]] = MappingProxyType(
    {
        scene.__name__: scene
        for scene in (
            rain,
            wind,
            sea,
            fire,
            forest_birds,
            night_crickets,
            road_traffic,
            train_interior,
            cafe_babble,
            office,
        )
    }
)
"""Name of each scene -> the function that renders it."""
