"""The ground floor: values, errors, the seam of a provider. It knows no other folder."""
