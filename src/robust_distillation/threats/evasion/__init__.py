"""Evasion attacks on Keras models: immutable configurations, called with a victim, images, labels and an epsilon.

    import robust_distillation as rd

    adversarial = rd.PGD(steps=50, restarts=5, seed=1)(model, images, labels, epsilon=8 / 255)

Modules: `sign` (FGSM, I-FGSM, MI-FGSM, PGD), `apgd`, `fab`, `square`, `carlini_wagner`, `deepfool`, `noise`,
`hop_skip_jump`, `transfer`; `ensemble` runs several and judges them together; `victim` says what they attack.
"""
