"""The bundled CLIP `tamis-mini`: weights, vocabulary and model card."""
