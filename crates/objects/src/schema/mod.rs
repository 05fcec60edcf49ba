//! Every record of the object engine: its key, its codec, and what it is for. See [`Kind`].
