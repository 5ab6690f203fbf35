"""The way from preference pairs to the report, as five stages over one folder.

Each stage reads what the stage before wrote, writes its own files whole or not at all, and
leaves a small record in ``stages/``: its settings, hashes of what it read and wrote, how long it
took. A stage whose record still holds is not run again; one whose settings changed, or whose files
somebody edited, is not silently replaced, and a file that no stage wrote is not touched. The
command line and notebooks call the same functions.

========  ==============================================  ===================================
stage     reads                                           writes
========  ==============================================  ===================================
score     a pairs file                                    ``pairs.parquet``, ``choices.json``
fit       ``pairs.parquet``                               ``fit/``, ``fit_point_mass/``,
                                                          ``models.csv``,
                                                          ``heterogeneity.csv``,
                                                          ``attenuation.csv``,
                                                          ``strength_prior.json``
train     ``pairs.parquet``, ``strength_prior.json``      ``train/``
compare   ``fit/``, ``train/learned_strength.json``       ``comparison.csv``,
                                                          ``learned_strength.json``
report    all of these                                    ``report.html``, ``figures/``,
                                                          ``tables/``, ``provenance.json``
========  ==============================================  ===================================
"""

from prefstrength.pipeline.compare import compare
from prefstrength.pipeline.compress import compress
from prefstrength.pipeline.fit import calibrate, fit
from prefstrength.pipeline.options import (
    FAMILIES,
    Reading,
    Rewarding,
    Sampler,
    Specification,
    Training,
)
from prefstrength.pipeline.reading import choices
from prefstrength.pipeline.report import report
from prefstrength.pipeline.run import run
from prefstrength.pipeline.score import score, score_parquet
from prefstrength.pipeline.stages import STAGES, Tell, finished, refuse_foreign
from prefstrength.pipeline.train import train

__all__ = [
    "FAMILIES",
    "STAGES",
    "Reading",
    "Rewarding",
    "Sampler",
    "Specification",
    "Tell",
    "Training",
    "calibrate",
    "choices",
    "compare",
    "compress",
    "finished",
    "fit",
    "refuse_foreign",
    "report",
    "run",
    "score",
    "score_parquet",
    "train",
]
