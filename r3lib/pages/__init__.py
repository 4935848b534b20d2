"""What draws tables, plots and pages from results files, without torch; the exercises' checks and the course."""
