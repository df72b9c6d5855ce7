"""Built-in refinement hooks, one module each; a recipe names them under ``hooks`` of a stage."""

from vrft_aug.refinement.asymmetric import Asymmetric
from vrft_aug.refinement.clip import Clip
from vrft_aug.refinement.difficulty import Difficulty
from vrft_aug.refinement.reasoning import Reasoning
from vrft_aug.refinement.replay import Replay
from vrft_aug.refinement.schedule import Schedule

__all__ = ["Asymmetric", "Clip", "Difficulty", "Reasoning", "Replay", "Schedule"]
