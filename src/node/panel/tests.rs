//! Every command, asked as Celery asks it.
