"""The entry point `validate`: nested cross-validation of a whole search."""

import os

from pipelines.entry_points import entry_point
from pipelines.objectives.mistakes import check_all
from pipelines.objectives.model import with_model
from pipelines.study.options import ValidateOptions
from pipelines.study.progress import shown
from pipelines.validation.folds import new_validation, resumed_validation, run_validation
from pipelines.validation.result import ValidationResult


@entry_point(ValidateOptions, check_all)
def validate(options: ValidateOptions) -> ValidationResult:
    """Validate a whole search by nested cross-validation: one search in each outer fold.

    The winner of each search is scored on the rows that its outer fold holds out.

    Raises:
        UserError: with what is wrong and the way out, before anything is trained.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    options = with_model(options)
    check_all(options)
    with shown(quiet=options.quiet, verbose=options.verbose):
        if options.resume is not None:
            return run_validation(resumed_validation(options.resume, options, run_id))
        return run_validation(new_validation(options, run_id))
