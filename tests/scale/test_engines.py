"""What the docs show of Dask and Spark gives the scores of the rows."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.paths import DOCS
from vilu_sdk import MCMScorer

N, D = 60, 8
DOCS = DOCS / "scale_out.md"
SPARK = """
import json, sys
import numpy as np
from pyspark.sql import SparkSession
from vilu_sdk import MCMScorer

folder, code = sys.argv[1:]
settings = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.memory": "512m"}
spark = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
rows = spark.read.parquet(f"{folder}/rows.parquet").repartition(3)
scorer, z_txt = MCMScorer(), np.load(f"{folder}/z_txt.npy")
exec(code)
with open(f"{folder}/scored.json", "w") as file:
    json.dump({"columns": scored.columns, "rows": [list(row) for row in scored.collect()]}, file)
spark.stop()
"""


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    texts = pa.array([None if i % 4 == 1 else f"text {i}" for i in range(N)])
    z = pa.array(list(rng.normal(size=(N, D)).astype(np.float32)))
    pq.write_table(
        pa.table({"id": range(N), "z": z, "text": texts}), tmp_path / "rows.parquet", row_group_size=25
    )
    np.save(tmp_path / "z_txt.npy", rng.normal(size=(5, D)).astype(np.float32))
    return tmp_path


def code_of(engine):
    """The block of code in the chapter of an engine."""
    chapter = DOCS.read_text().split(f"\n## {engine}\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", chapter, re.DOTALL)[1]


def check(folder, scored):
    rows, z_txt = pq.read_table(folder / "rows.parquet"), np.load(folder / "z_txt.npy")
    z_img = np.stack(rows["z"].to_pylist())
    scored = scored.sort_values("id")
    assert list(scored.columns) == ["id", "text", "prediction", "uncertainty"]
    assert scored["id"].tolist() == list(range(N))
    assert (
        scored["text"].astype(object).where(scored["text"].notna(), None).tolist() == rows["text"].to_pylist()
    )
    np.testing.assert_array_equal(scored["prediction"], MCMScorer().predict(z_img, z_txt))
    expected = MCMScorer().predict_uncertainty(z_img, z_txt)
    np.testing.assert_allclose(scored["uncertainty"], expected, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # of pandas, to Dask itself
def test_dask_maps_partitions(folder):
    dd = pytest.importorskip("dask.dataframe", reason="Dask is not installed")
    rows = dd.read_parquet(folder / "rows.parquet", split_row_groups=True)
    assert rows.npartitions == 3
    names = {"rows": rows, "scorer": MCMScorer(), "z_txt": np.load(folder / "z_txt.npy")}
    exec(code_of("Dask"), names)
    meta = names["scored"].dtypes
    scored = names["scored"].compute(scheduler="threads")
    assert (scored.dtypes == meta).all()
    check(folder, scored)


def test_spark_maps_in_pandas(folder):
    pytest.importorskip("pyspark", reason="Spark is not installed")
    settings = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SPARK, folder, code_of("Spark")],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (folder / "scored.json").exists(), done.stderr[-5000:]
    scored = json.loads((folder / "scored.json").read_text())
    check(folder, pd.DataFrame(scored["rows"], columns=scored["columns"]))
