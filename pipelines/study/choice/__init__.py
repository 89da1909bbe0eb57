"""How the winner of a study is chosen: among the best trials, or as an ensemble of several."""
