"""The checks of `doctor`, each without spending. `init`, `models` and `credits` use some of them as well."""
