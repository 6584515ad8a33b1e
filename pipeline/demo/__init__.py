"""A hermetic little web with a known fate for every URL: real drawings, real sockets, a crawl, a comparison."""
