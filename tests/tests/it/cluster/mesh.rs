//! The mesh without our controller: a plugin applied to the API server reaches the Envoys of a gateway and of a caller.
