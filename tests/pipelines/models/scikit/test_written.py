"""Estimators as text and back."""

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.feature_selection import SelectKBest, mutual_info_classif
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from hpo.errors import ParameterError
from pipelines.models.scikit.written import plain_or_written, read, value_of, written
from serving.trust import TRUSTED_MODULES
from tests.pipelines.models.scikit.own import Shares
from warmstart.families import is_code, is_estimator, is_joint

MODULE = "tests.pipelines.models.scikit.own"


@pytest.mark.parametrize(
    ("estimator", "text"),
    [
        (SVC(), "sklearn.svm.SVC()"),
        (
            SVC(C=np.float64(2), kernel="poly", class_weight={0: 1.0, 1: 2.5}),
            "sklearn.svm.SVC(C=2.0, class_weight={0: 1.0, 1: 2.5}, kernel='poly')",
        ),
        (
            make_pipeline(MinMaxScaler((-1, 1)), SVC()),
            "sklearn.pipeline.Pipeline(steps=[('minmaxscaler', sklearn.preprocessing.MinMaxScaler("
            "feature_range=(-1, 1))), ('svc', sklearn.svm.SVC())])",
        ),
        (
            make_pipeline(FunctionTransformer(np.log1p), SelectKBest(mutual_info_classif, k=3)),
            None,
        ),
        (GaussianProcessClassifier(2.0 * RBF(0.5) + WhiteKernel()), None),
        (CalibratedClassifierCV(SVC(), cv=StratifiedKFold(3), ensemble=False), None),
        (StackingClassifier([("a", SVC()), ("b", RandomForestClassifier(max_depth=3))]), None),
        (SimpleImputer(missing_values=-1, fill_value=math.inf), None),
    ],
)
def test_an_estimator_is_made_again_from_its_text(estimator: Any, text: str | None) -> None:
    found = written(estimator)
    assert text is None or found == text
    assert type(read(found)) is type(estimator)
    assert written(read(found)) == found
    assert is_estimator(found)
    assert not is_joint(found)
    assert not is_code(found)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_any_plain_value_of_a_parameter_is_kept(value: Any) -> None:
    again = read(written(SVC(C=value, gamma=[value])))
    assert repr(again.C) == repr(value)  # nan, and 1 and True, too
    assert repr(again.gamma) == repr([value])


@given(VALUES)
def test_a_choice_of_any_value_is_plain_and_is_read_again(value: Any) -> None:
    plain = plain_or_written(value, "p")
    assert isinstance(plain, str | bool | int | float)
    if not isinstance(value, str):
        assert repr(value_of(plain)) == repr(value)


@pytest.mark.parametrize("choice", [np.log1p, np.float32, mutual_info_classif, MinMaxScaler])
def test_a_choice_of_a_function_or_a_class_is_read_again(choice: Any) -> None:
    assert value_of(plain_or_written(choice, "p")) is choice


@pytest.mark.parametrize(
    "text", ["rbf", "auto", "", "none", "f(x", "f(x)", "a]", "1", "2**3", "model.txt", "a.b.c"]
)
def test_texts_of_a_space_that_are_no_values_stay(text: str) -> None:
    assert value_of(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("os.system(command='true')", "os.system is not of scikit-learn"),
        ("subprocess.Popen(args=['true'])", "is not of scikit-learn"),
        ("sklearn.utils._testing.os.system(command='true')", "is no class of sklearn"),
        ("sklearn.utils._testing.tempfile.TemporaryFile()", "is no class of sklearn"),
        ("sklearn.utils.all_estimators()", "is no class of sklearn"),
        ("numpy.memmap(filename='x')", "numpy.memmap is no class of sklearn"),
        ("sklearn.svm.SVC(C=__import__(name='os'))", "__import__ is not of scikit-learn"),
        ("sklearn.svm.SVC(C=[x for x in y])", "but got '\\[x for x in y\\]'"),
        ("sklearn.svm.SVC(C=1 + 1)", "but got '1 \\+ 1'"),
        ("sklearn.svm.SVC(2)", "their parameters by name"),
        ("sklearn.svm.SVC(**{})", "cannot be made|by name"),
        ("sklearn.svm.SVC(Q=2)", "sklearn.svm.SVC cannot be made: TypeError"),
        ("sklearn.svm.SVX()", "sklearn.svm.SVX cannot be imported"),
        ("sklearn.nothing.SVC()", "sklearn.nothing.SVC cannot be imported"),
        ("sklearn.svm.SVC(", "is not an estimator"),
        (
            "sklearn.preprocessing.FunctionTransformer(func=numpy.save)",
            "numpy.save is not allowed as a parameter",
        ),
        (
            "sklearn.preprocessing.FunctionTransformer(func=sklearn.datasets.dump_svmlight_file)",
            "dump_svmlight_file is not allowed as a parameter",
        ),
        (f"{MODULE}.Shares()", f"{TRUSTED_MODULES}=tests, here and where the model is served"),
    ],
)
def test_a_text_calls_nothing_but_classes_that_are_trusted(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        read(text)


def test_classes_of_trusted_modules_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUSTED_MODULES, f"another, {MODULE}")
    text = written(Shares(power=2.0))
    assert text == f"{MODULE}.Shares(power=2.0)"
    assert read(text).power == 2.0
    monkeypatch.setenv(TRUSTED_MODULES, MODULE[:-1])  # the start of a name is another name
    with pytest.raises(ParameterError, match="is not trusted"):
        read(text)


def test_what_xgboost_leaves_open_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from xgboost import XGBClassifier

    monkeypatch.setenv(TRUSTED_MODULES, "xgboost")
    text = written(XGBClassifier(max_depth=3))
    assert "max_depth=3" in text
    assert "None" not in text
    assert read(text).get_params() == pytest.approx(
        XGBClassifier(max_depth=3).get_params(), nan_ok=True
    )


class Local(Shares):
    """As of a script, which no other process can import."""


Local.__module__ = "__main__"


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Local(), "Local is defined in this script or notebook.*; move it to a module"),
        (
            make_pipeline(FunctionTransformer(lambda x: x), SVC()),
            r"estimator: steps: func is <function .*, which cannot be imported by its name",
        ),
        (SVC(class_weight=np.ones(3)), "class_weight is an array.*; give a list"),
        (
            SVC(random_state=np.random.RandomState(0)),
            "random_state is a numpy.random.*, which cannot be written down",
        ),
        (SVC(class_weight={i: 1.0 for i in range(1000)}), "characters, and at most 4,000"),
        (make_pipeline(StandardScaler(), object()), "steps is <class 'object'>, which"),
    ],
)
def test_what_cannot_be_written_is_named(estimator: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        written(estimator)


def test_the_names_in_messages_are_those_of_parameters() -> None:
    with pytest.raises(ParameterError) as error:
        written(SVC(gamma=[np.ones(2)]))
    assert re.match(r"estimator: gamma is an array", str(error.value))
