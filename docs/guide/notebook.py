# %% [markdown]
# # soundscene in ten cells
#
# The corpus is rendered by soundscene itself. So the scores show that everything works, and not how well it works on real
# recordings. A notebook shows the value of a cell's last line.

# %%
from pathlib import Path

import soundscene
from soundscene.render.corpus import render_corpus

render_corpus(Path("rendered"), n_per_scene=6, duration_s=4.0, seed=0)
found = soundscene.scan("rendered/manifest.csv")
found

# %%
found.to_frame().head()

# %%
settings = ["training.epochs=20", "augmentation=off"]  # to be quick; without settings, the recipe decides
model = soundscene.train(found, "scenes.safetensors", test="fold=1", recipe="small", settings=settings, workers=1)
model

# %%
scores = soundscene.evaluate(model, found, test="fold=1")
print(scores.sentence(model.head))

# %%
prediction = soundscene.predict(model, "rendered/rain/rain_0000.wav")
prediction

# %%
print(prediction.top(3))
prediction.to_frame().round(2)

# %%
axes = prediction.plot()

# %%
tested = [recording.path for recording in found.recordings if recording.columns["fold"] == "1"]
soundscene.predict(model, tested[:2])

# %%
soundscene.predict(model, tested).to_frame()[["path", "scene", "probability", "unknown", "notes"]].head()

# %%
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from soundscene.estimators import CalibratedSVC, SceneFeatures

rows = found.recordings
paths, scenes, groups = ([getattr(row, name) for row in rows] for name in ("path", "scene", "group"))
pipeline = make_pipeline(SceneFeatures(), CalibratedSVC())
cross_val_score(pipeline, paths, scenes, groups=groups, cv=GroupKFold(3))
