"""The best recipe this project knows: a label-informed posterior on the zero-shot logits."""
