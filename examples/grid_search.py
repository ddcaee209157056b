"""Search parameters of scorers with scikit-learn: the scale of MCM, and how ViLU learns.

python examples/grid_search.py
"""

from sklearn.model_selection import GridSearchCV, StratifiedKFold

from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import failure_auc_scorer, neg_aurc_scorer


def main() -> None:
    data = load_digits_vlm()
    X, y = data.z_img_fit, data.labels_fit
    folds = StratifiedKFold(3, shuffle=True, random_state=0)

    # `bind` fixes the texts, so that what is left is a classifier over images.
    mcm = MCMScorer().bind(data.z_txt)
    scales = {"scorer__logit_scale": [data.logit_scale * factor for factor in (0.1, 0.3, 1.0, 3.0)]}
    search = GridSearchCV(mcm, scales, cv=folds).fit(X, y)
    show("MCM", search)

    # Two scores at once; the best by AURC is fitted on all images.
    vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0).bind(data.z_txt)
    recipes = {"scorer__recipe": ["auto", PaperRecipe(epochs=30, learning_rate=0.1)]}
    scoring = {"auc": failure_auc_scorer, "aurc": neg_aurc_scorer}
    search = GridSearchCV(vilu, recipes, cv=folds, scoring=scoring, refit="aurc").fit(X, y)
    show("ViLU", search)

    # What came out is a scorer again, for any texts.
    scorer = search.best_estimator_.scorer_
    uncertainty = scorer.predict_uncertainty(data.z_img_test, data.z_txt)
    wrong = scorer.predict(data.z_img_test, data.z_txt) != data.labels_test
    print(f"mean uncertainty of wrong predictions {uncertainty[wrong].mean():.2f}, ", end="")
    print(f"of right ones {uncertainty[~wrong].mean():.2f}")


def show(name: str, search: GridSearchCV) -> None:
    results = search.cv_results_
    for row, params in enumerate(results["params"]):
        (value,) = params.values()
        value = f"{value:.0f}" if isinstance(value, float) else value if isinstance(value, str) else "paper"
        scores = [
            f"{metric} {results[key][row]:.4f}"
            for metric in ("score", "auc", "aurc")
            if (key := f"mean_test_{metric}") in results
        ]
        print(f"{name}  {value:>5}  {'  '.join(scores)}{'  <- best' if row == search.best_index_ else ''}")


if __name__ == "__main__":
    main()
