"""clip-retrieval's own service classes over an exact index of our embeddings, run by its interpreter: INDEX FOLDER, PORT.

Started as `clip_back.clip_back` starts it (Flask with its threads), without the CLIP model, which queries by embedding do not use.
"""

import sys
from pathlib import Path

import clip_retrieval.clip_back  # noqa: F401
import faiss
import numpy as np
from flask import Flask
from flask_cors import CORS
from flask_restful import Api

back = sys.modules["clip_retrieval.clip_back"]  # the package has a function of that name
folder, port = Path(sys.argv[1]), int(sys.argv[2])
vectors = np.concatenate([np.load(file) for file in sorted((folder / "img_emb").glob("*.npy"))]).astype(np.float32)
index = faiss.IndexFlatIP(vectors.shape[1])
index.add(vectors)
columns = ["url", "caption"]
metadata, _ = back.load_metadata_provider(str(folder), False, False, index, columns, False)
resource = back.ClipResource(
    device="cpu", model=None, preprocess=None, tokenizer=None, model_txt_mclip=None, safety_model=None, violence_detector=None,
    metadata_provider=metadata, image_index=index, text_index=None, ivf_old_to_new_mapping=None, columns_to_return=columns,
    metadata_is_ordered_by_ivf=False, aesthetic_embeddings=None,
)  # fmt: skip
app = Flask(__name__)
Api(app).add_resource(back.KnnService, "/knn-service", resource_class_kwargs={"clip_resources": {"set": resource}})
CORS(app)
app.add_url_rule("/alive", "alive", lambda: "yes")
app.run(host="127.0.0.1", port=port, debug=False)
