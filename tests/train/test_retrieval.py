"""Recall: the share of pictures whose text is found, and of texts whose picture is."""

import torch

from train.retrieval import recalls


def test_each_way_counts_for_itself_and_equal_captions_are_hits() -> None:
    image = torch.eye(12)
    text = image.clone()
    text[0], text[1] = image[1], image[0]  # these two are told the wrong way round
    captions = [f"number {at}" for at in range(12)]
    found = recalls(image, text, captions)
    assert found["recall_among"] == 12
    assert found["image_to_text_recall_1_frac"] == found["text_to_image_recall_1_frac"] == torch.tensor(10 / 12).item()
    assert found["image_to_text_recall_10_frac"] == 1.0
    captions[1] = captions[0]
    assert recalls(image, text, captions)["image_to_text_recall_1_frac"] == 1.0


def test_a_text_that_everything_is_near_to_is_found_by_few_and_finds_its_own() -> None:
    image = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2], [1.0, 0.1], [1.0, 0.0]]), dim=1)
    text = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0]])
    found = recalls(image, text, ["a", "b", "c"])
    assert found["image_to_text_recall_1_frac"] == torch.tensor(1 / 3).item()  # all three say c
    assert found["text_to_image_recall_1_frac"] == torch.tensor(2 / 3).item()  # b's texts go to c's picture
    assert found["image_to_text_recall_10_frac"] == 1.0


def test_captions_in_one_row_need_no_ten() -> None:
    assert recalls(torch.ones(1, 2), torch.ones(1, 2), ["a"])["text_to_image_recall_10_frac"] == 1.0
