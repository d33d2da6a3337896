from robust_distillation.auditing.figures import robustness_curves


def test_a_worst_case_names_what_it_is_over():
    values = {"clean": 0.9, "worst_case": {"8/255": 0.5}, "worst_case_interval": {"8/255": {"low": 0.4, "high": 0.6}}}
    attacks = ["fgsm", "pgd", "apgd_ce", "apgd_dlr", "transfer_surrogate", "transfer_teacher"]
    (axes,) = robustness_curves({"student": values}, [8 / 255], attacks, []).axes
    assert axes.get_title().replace("\n", " ") == f"Worst case over {', '.join(attacks)}"
