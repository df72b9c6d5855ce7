"""What MedMNIST publishes of its sets: classes, sizes of the splits, licences, MD5 of the files.

Source: Yang et al. 2023, doi 10.1038/s41597-022-01721-8. The files are Zenodo record 10519652; the facts are those of the package
medmnist 3.0.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from medcore.datasets.base import Task

SOURCE = "MedMNIST v2, doi 10.1038/s41597-022-01721-8"
RECORD = "https://zenodo.org/records/10519652"
SIZES, SIZES_3D = (28, 64, 128, 224), (28, 64)


@dataclass(frozen=True, kw_only=True)
class Published:
    """One set of MedMNIST.

    Attributes
    ----------
    classes
        Names in the order of the labels.
    samples
        Sizes of train, val and test.
    md5
        Of the files of each size.
    task, channels, volumetric, licence
        Kind of labels, 1 for grey and 3 for colour, whether images are volumes, terms of use.
    """

    classes: tuple[str, ...]
    samples: tuple[int, int, int]
    md5: dict[int, str]
    task: Task = "classification"
    channels: int = 1
    volumetric: bool = False
    licence: str = "CC BY 4.0"

    @property
    def splits(self) -> dict[str, int]:
        """Sizes of the splits by name."""
        return dict(zip(("train", "val", "test"), self.samples, strict=True))


def file_name(flag: str, size: int) -> str:
    """Name of the published file of a set: the smallest size has no suffix."""
    return f"{flag}.npz" if size == SIZES[0] else f"{flag}_{size}.npz"


def split_name(stem: str) -> tuple[str, int | None]:
    """Set and size from a file's stem: ``("pathmnist", 64)`` for ``pathmnist_64``, ``("pathmnist", None)`` for ``pathmnist_mine``."""
    flag, _, rest = stem.lower().partition("_")
    if not rest:
        return flag, SIZES[0]
    return flag, int(rest) if rest in {str(s) for s in SIZES} else None


def _md5(*hashes: str) -> dict[int, str]:
    return dict(zip(SIZES, hashes, strict=False))


_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)
PUBLISHED: dict[str, Published] = {
    "pathmnist": Published(
        classes=(
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        samples=(89996, 10004, 7180),
        md5=_md5(
            "a8b06965200029087d5bd730944a56c1",
            "55aa9c1e0525abe5a6b9d8343a507616",
            "ac42d08fb904d92c244187169d1fd1d9",
            "2c51a510bcdc9cf8ddb2af93af1eadec",
        ),
        channels=3,
    ),
    "chestmnist": Published(
        classes=(
            "atelectasis",
            "cardiomegaly",
            "effusion",
            "infiltration",
            "mass",
            "nodule",
            "pneumonia",
            "pneumothorax",
            "consolidation",
            "edema",
            "emphysema",
            "fibrosis",
            "pleural",
            "hernia",
        ),
        samples=(78468, 11219, 22433),
        md5=_md5(
            "02c8a6516a18b556561a56cbdd36c4a8",
            "9de6cd0b934ebb5b7426cfba5efbae16",
            "db107e5590b27930b62dbaf558aebee3",
            "45bd33e6f06c3e8cdb481c74a89152aa",
        ),
        task="multi-label",
    ),
    "dermamnist": Published(
        classes=(
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        samples=(7007, 1003, 2005),
        md5=_md5(
            "0744692d530f8e62ec473284d019b0c7",
            "b70a2f5635c6199aeaa28c31d7202e1f",
            "2defd784463fa5243564e855ed717de1",
            "8974907d8e169bef5f5b96bc506ae45d",
        ),
        channels=3,
        licence="CC BY-NC 4.0",
    ),
    "octmnist": Published(
        classes=(
            "choroidal neovascularization",
            "diabetic macular edema",
            "drusen",
            "normal",
        ),
        samples=(97477, 10832, 1000),
        md5=_md5(
            "c68d92d5b585d8d81f7112f81e2d0842",
            "e229e9440236b774d9f0dfef9d07bdaf",
            "0a97e76651ace45c5d943ee3f65b63ae",
            "abc493b6d529d5de7569faaef2773ba3",
        ),
    ),
    "pneumoniamnist": Published(
        classes=(
            "normal",
            "pneumonia",
        ),
        samples=(4708, 524, 624),
        md5=_md5(
            "28209eda62fecd6e6a2d98b1501bb15f",
            "8f4eceb4ccffa70c672198ea285246c6",
            "05b46931834c231683c68f40c47b2971",
            "d6a3c71de1b945ea11211b03746c1fe1",
        ),
    ),
    "retinamnist": Published(
        classes=(
            "grade 0",
            "grade 1",
            "grade 2",
            "grade 3",
            "grade 4",
        ),
        samples=(1080, 120, 400),
        md5=_md5(
            "bd4c0672f1bba3e3a89f0e4e876791e4",
            "afda852cc34dcda56f86ad2b2457dbcc",
            "e48e916a24454daf90583d4e6efb1a18",
            "eae7e3b6f3fcbda4ae613ebdcbe35348",
        ),
        task="grading",
        channels=3,
    ),
    "breastmnist": Published(
        classes=(
            "malignant",
            "normal, benign",
        ),
        samples=(546, 78, 156),
        md5=_md5(
            "750601b1f35ba3300ea97c75c52ff8f6",
            "742edef2a1fd1524b2efff4bd7ba9364",
            "363e4b3f8d712e9b5de15470a2aaadf1",
            "b56378a6eefa9fed602bb16d192d4c8b",
        ),
    ),
    "bloodmnist": Published(
        classes=(
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes (myelocytes, metamyelocytes and promyelocytes)",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        samples=(11959, 1712, 3421),
        md5=_md5(
            "7053d0359d879ad8a5505303e11de1dc",
            "2b94928a2ae4916078ca51e05b6b800b",
            "adace1e0ed228fccda1f39692059dd4c",
            "b718ff6835fcbdb22ba9eacccd7b2601",
        ),
        channels=3,
    ),
    "tissuemnist": Published(
        classes=(
            "collecting duct, connecting tubule",
            "distal convoluted tubule",
            "glomerular endothelial cells",
            "interstitial endothelial cells",
            "leukocytes",
            "podocytes",
            "proximal tubule segments",
            "thick ascending limb",
        ),
        samples=(165466, 23640, 47280),
        md5=_md5(
            "ebe78ee8b05294063de985d821c1c34b",
            "123ece2eba09d0aa5d698fda57103344",
            "61b955355d7425a89687b06cca3ce0c2",
            "b077128c4a949f0a4eb01517f9037b9c",
        ),
    ),
    "organamnist": Published(
        classes=_ORGANS,
        samples=(34561, 6491, 17778),
        md5=_md5(
            "68e3f8846a6bd62f0c9bf841c0d9eacc",
            "2dcccc29b88e6da5a01161ef20cda288",
            "eeae80d0a227a8d099027e1b3cfd3b60",
            "50747347e05c87dd3aaf92c49f9f3170",
        ),
    ),
    "organcmnist": Published(
        classes=_ORGANS,
        samples=(12975, 2392, 8216),
        md5=_md5(
            "b9ceb9546e10131b32923c5bbeaea2b1",
            "3ce34a8724ea6f548e6db4744d03b6a9",
            "773c1f009daa3fe5d9a2a201b2a7ed94",
            "050f5e875dc056f6768abf94ec9995d1",
        ),
    ),
    "organsmnist": Published(
        classes=_ORGANS,
        samples=(13932, 2452, 8827),
        md5=_md5(
            "9ab87b696fb54e2a387ebe992d6ed5f1",
            "53a6d115339d874c25e309a994ff46d3",
            "ded0c5fa01a95dc4978b956f613e9b8e",
            "b354719e553fbbb2513d5533f52a4cb1",
        ),
    ),
    "organmnist3d": Published(
        classes=(
            "liver",
            "kidney-right",
            "kidney-left",
            "femur-right",
            "femur-left",
            "bladder",
            "heart",
            "lung-right",
            "lung-left",
            "spleen",
            "pancreas",
        ),
        samples=(971, 161, 610),
        md5=_md5(
            "a0c5a1ff56af4f155c46d46fbb45a2fe",
            "58a2205adf14a9d0a189cb06dc78bf10",
        ),
        volumetric=True,
    ),
    "nodulemnist3d": Published(
        classes=(
            "benign",
            "malignant",
        ),
        samples=(1158, 165, 310),
        md5=_md5(
            "8755a7e9e05a4d9ce80a24c3e7a256f3",
            "c47c5b7d457bf6332200d2ea6d64ecd8",
        ),
        volumetric=True,
    ),
    "adrenalmnist3d": Published(
        classes=(
            "normal",
            "hyperplasia",
        ),
        samples=(1188, 98, 298),
        md5=_md5(
            "bbd3c5a5576322bc4cdfea780653b1ce",
            "17721accfe9fb005146a47d33bc54b2f",
        ),
        volumetric=True,
    ),
    "fracturemnist3d": Published(
        classes=(
            "buckle rib fracture",
            "nondisplaced rib fracture",
            "displaced rib fracture",
        ),
        samples=(1027, 103, 240),
        md5=_md5(
            "6aa7b0143a6b42da40027a9dda61302f",
            "f01d7e6316aedf4210da0da5b7437b42",
        ),
        volumetric=True,
    ),
    "vesselmnist3d": Published(
        classes=(
            "vessel",
            "aneurysm",
        ),
        samples=(1335, 191, 382),
        md5=_md5(
            "b41fd4f7e7e2feedddb201585ecafa1b",
            "6bb274a8846e1097066dcd64e2c4520f",
        ),
        volumetric=True,
    ),
    "synapsemnist3d": Published(
        classes=(
            "inhibitory synapse",
            "excitatory synapse",
        ),
        samples=(1230, 177, 352),
        md5=_md5(
            "1235b78a3cd6280881dd7850a78eadb6",
            "43bd14ebf3af9d3dd072446fedc14d5e",
        ),
        volumetric=True,
    ),
}
"""The eighteen sets by flag."""
