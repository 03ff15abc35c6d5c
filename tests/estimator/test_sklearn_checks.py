"""scikit-learn's own checks of an estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from ddnmf_np import DDNMF

ESTIMATORS = [
    DDNMF(n_components=3, widths=(8, 5), max_iter=2),
    DDNMF(n_components=2, widths=(6,), max_iter=2, objective="demo", nonnegative="both"),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)
